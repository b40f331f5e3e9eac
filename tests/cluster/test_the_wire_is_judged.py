"""What answers on the wire before and after prove, by example and by property."""

from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp.probing import Answerer, Findings, Verdict
from strictarp.cluster.onwire import Heard, compare, heard, proved, summary, table, wrong, wrong_text
from strictarp.kube.objects import Node
from strictarp.wire.naming import Known, known

VIP = "192.0.2.100"
VIPS = {ip_address(VIP): ("default/web",)}


def _after(was: Heard | None, now: Heard | None) -> tuple[str, str]:
    (seen,) = compare(VIPS, {} if was is None else {VIP: was}, {} if now is None else {VIP: now})
    return seen.outcome, seen.reason


def _heard(*names: str, rivals: int | None = None, own: bool = False, reason: str = "") -> Heard:
    return Heard(VIP, names, len(names) if rivals is None else rivals, own, reason)


@pytest.mark.parametrize(
    ("was", "now", "outcome"),
    [
        (_heard("a", "b", "c"), _heard("a"), "one"),
        (_heard("a"), _heard("b"), "one"),
        (_heard("a", "b"), _heard("a", "b"), "several"),
        (_heard("a", "b"), _heard(), "lost"),
        (_heard(), _heard(), "nobody"),
        (None, _heard(), "nobody"),
        (_heard("a"), _heard("a", "router", rivals=1), "foreign"),
        (_heard("a"), _heard("router", rivals=0), "foreign"),
        (_heard("a", "b"), _heard("a", "b", "router", rivals=2), "several"),
        (_heard("a"), _heard(own=True), "unseen"),
        (_heard("a"), _heard("a", own=True), "one"),
        (_heard(reason="no route"), _heard(reason="no route"), "unseen"),
        (_heard(reason="no route"), _heard("a"), "one"),
        (_heard("a"), None, "one"),
        (None, None, "unseen"),
    ],
)
def test_each_outcome(was: Heard | None, now: Heard | None, outcome: str) -> None:
    assert _after(was, now)[0] == outcome


def test_ipv6_is_not_asked_for_since_no_kernel_answers_for_it_on_a_dummy() -> None:
    assert compare({ip_address("2001:db8::1"): ("default/web",)}, {}, {}) == ()


def test_what_is_wrong_is_told_with_names_and_not_endlessly() -> None:
    vips = {ip_address(f"192.0.2.{100 + n}"): (f"default/s{n}",) for n in range(7)}
    before = {str(ip): Heard(str(ip), ("a",), 1) for ip in vips}
    after = {str(ip): Heard(str(ip), ("a", "b"), 2) for ip in vips} | {VIP: Heard(VIP)}
    seen = compare(vips, before, after)
    told = wrong_text(seen)
    assert told.startswith("nobody answers for 192.0.2.100 (default/s0) any more; answered before by a; ")
    assert "192.0.2.101 (default/s1) is answered by a, b" in told
    assert told.endswith("; and 2 more")
    assert summary(seen) == (
        "on the wire several hosts answer for 6 Service IPs, nobody answers any more for 1 Service IP"
    )
    assert table(seen)[0] == "192.0.2.100 (default/s0): a -> nobody"


def _found(ip: str, *macs: str, reason: str = "") -> Findings:
    verdict = Verdict.UNKNOWN if reason else (Verdict.NOBODY, Verdict.ONE, Verdict.SEVERAL)[min(len(macs), 2)]
    answers = tuple(Answerer(mac, 1, 0.1) for mac in macs)
    return Findings(ip, "eth0", "probe", "0.0.0.0", verdict, answers, False, 0.2, reason=reason)


def _names() -> Known:
    status = {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]}
    node = msgspec.convert({"metadata": {"name": "node1"}, "status": status}, Node)
    return known(nodes=(node,), answered=(_found("192.0.2.11", "52:54:00:00:00:01"),))


def test_who_answers_for_a_nodes_own_address_is_that_node_and_others_are_foreign() -> None:
    found = _found(VIP, "52:54:00:00:00:02", "52:54:00:00:00:01")
    made = heard((found, _found("192.0.2.101", reason="no route")), _names())
    assert made[VIP].rivals == 1
    assert "node1 (52:54:00:00:00:01)" in made[VIP].answerers
    assert any(each.startswith("no known node") for each in made[VIP].answerers)
    assert made["192.0.2.101"] == Heard("192.0.2.101", reason="no route")


def test_answerers_that_nobody_can_name_may_be_nodes() -> None:
    assert heard((_found(VIP, "52:54:00:00:00:02"),), Known())[VIP].rivals == 1


_sides = st.none() | st.builds(
    Heard,
    st.just(VIP),
    st.lists(st.sampled_from("abc"), unique=True, max_size=3).map(tuple),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(["", "no route"]),
).map(lambda each: msgspec.structs.replace(each, rivals=min(each.rivals, len(each.answerers))))


@given(_sides, _sides)
def test_only_several_nodes_or_a_loss_disprove_and_only_one_proves(
    was: Heard | None, now: Heard | None
) -> None:
    seen = compare(VIPS, {VIP: was} if was else {}, {VIP: now} if now else {})
    last = now or was
    several = last is not None and not last.reason and last.rivals > 1
    answered_before = was is not None and not was.reason and bool(was.answerers)
    silent = now is not None and not now.reason and not now.answerers and not now.own
    assert bool(wrong(seen)) == (several or (answered_before and silent))
    assert bool(wrong(seen)) == bool(wrong_text(seen))
    if proved(seen):
        assert last is not None
        assert len(last.answerers) == last.rivals == 1
        assert not last.own
