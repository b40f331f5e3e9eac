"""SA7xx: each fires on its answers, and not on what is merely near them; causes in the cluster come first."""

import ipaddress

import pytest

from strictarp.arp.probing import Verdict
from strictarp.doctor.objects import Objects
from strictarp.wire.announcers import Announcer
from strictarp.wire.culprits import Culprit, Fault
from strictarp.wire.naming import Who
from support.doctor_clusters import (
    CONFIG,
    VIP,
    advertisement,
    answer,
    evidence,
    kube_proxy,
    looked,
    name_of,
    objects,
    report,
    sighted,
    signs,
    slice_of,
)

A, B, C = (f"02:00:00:00:00:0{each}" for each in "123")
N1, N2 = name_of(A, "node1"), name_of(B, "node2")
FOREIGN = name_of(C, who=Who.FOREIGN)
GOOD = report(answer(A), names=[N1])


def announced(*nodes: str) -> Objects:
    said = tuple(Announcer(each, f"ServiceL2Status {each}") for each in nodes)
    return objects(announced={ipaddress.ip_address(VIP): said} if said else {})


def test_one_answer_of_the_owner_is_sound() -> None:
    assert looked(evidence(announced("node1"), GOOD)).findings == ()


class TestSeveral:
    def test_they_are_named_with_the_likely_culprit(self) -> None:
        blamed = Culprit(VIP, B, "node2 eth0", Fault.KERNEL, False, "its kernel answers", "on node2: do this")
        seen = evidence(announced("node1"), report(answer(A), answer(B), names=[N1, N2], culprits=(blamed,)))
        (finding,) = looked(seen).findings
        assert (finding.code, finding.subject, finding.mend) == ("SA701", f"VIP {VIP}", "on node2: do this")
        assert finding.seen == (
            f"2 hosts answer on eth0: {A} (node1 eth0), {B} (node2 eth0); probably {B}: its kernel answers"
        )
        assert finding.affects == ("Service default/web",)

    def test_they_are_a_consequence_of_strictarp_off(self) -> None:
        off = objects(signs=signs(CONFIG.replace("true", "false")))
        seen = evidence(off, report(answer(A), answer(B), names=[N1, N2]))
        (finding,) = looked(seen).findings
        assert (finding.code, finding.consequences) == ("SA101", ("SA701",))

    def test_with_one_stranger_the_stranger_is_the_problem(self) -> None:
        seen = evidence(announced("node1"), report(answer(A), answer(C), names=[N1, FOREIGN]))
        assert [each.code for each in looked(seen).findings] == ["SA704"]
        both = evidence(announced("node1"), report(answer(A), answer(B), answer(C), names=[N1, N2, FOREIGN]))
        assert [each.code for each in looked(both).findings] == ["SA701", "SA704"]

    def test_one_is_not_several(self) -> None:
        assert sighted("SA701", evidence(objects(), GOOD)) == []


class TestNobody:
    def test_it_is_told_who_should(self) -> None:
        ((subject, told),) = sighted("SA702", evidence(announced("node2"), report()))
        assert subject == f"VIP {VIP}"
        assert told == "nobody answers on eth0 within 1.2 s; node2 is said to announce it"
        assert "nobody is said" in sighted("SA702", evidence(objects(), report()))[0][1]

    def test_the_cause_is_told_instead(self) -> None:
        seen = evidence(objects(advertisements=()), report())
        (finding,) = looked(seen).findings
        assert (finding.code, finding.consequences) == ("SA613", ("SA702",))
        nowhere = advertisement(nodeSelectors=[{"matchLabels": {"host": "x"}}])
        codes = [
            each.code for each in looked(evidence(objects(advertisements=(nowhere,)), report())).findings
        ]
        assert codes == ["SA614", "SA609"]

    def test_where_nobody_is_to_answer_nobody_is_missed(self) -> None:
        silent = objects(slices=(slice_of("web", ready=False),))
        assert sighted("SA702", evidence(silent, report())) == []
        assert sighted("SA702", evidence(objects(services=()), report())) == []
        assert sighted("SA702", evidence(objects(daemonsets=(kube_proxy(),)), report())) == []

    def test_this_hosts_own_kernel_does_not_hear_the_question(self) -> None:
        assert sighted("SA702", evidence(objects(), report(own_address=True))) == []

    def test_what_was_not_asked_is_not_nobody(self) -> None:
        assert sighted("SA702", evidence(objects(), report(verdict=Verdict.UNKNOWN))) == []


class TestTheWrongOne:
    def test_another_node_than_the_announcer(self) -> None:
        ((_, told),) = sighted("SA703", evidence(announced("node2"), GOOD))
        assert told == f"{A} (node1 eth0) answers; node2 is said to announce it (ServiceL2Status node2)"

    @pytest.mark.parametrize("nodes", [(), ("node1",), ("node2", "node1")])
    def test_not_where_it_may_be_the_announcer(self, nodes: tuple[str, ...]) -> None:
        assert sighted("SA703", evidence(announced(*nodes), GOOD)) == []

    def test_not_where_the_node_is_a_guess(self) -> None:
        unsure = report(answer(A), names=[name_of(A, who=Who.UNKNOWN)])
        assert sighted("SA703", evidence(announced("node2"), unsure)) == []

    def test_a_stranger(self) -> None:
        seen = evidence(announced("node1"), report(answer(C), names=[FOREIGN]))
        assert sighted("SA704", seen) == [(f"VIP {VIP}", f"{C} (no known node) answers on eth0")]
        assert sighted("SA704", evidence(objects(), GOOD)) == []
        unknown = report(answer(C), names=[name_of(C, who=Who.UNKNOWN)])
        assert sighted("SA704", evidence(objects(), unknown)) == []


def test_one_host_with_two_voices_is_told() -> None:
    seen = evidence(announced("node1"), report(answer(A, answers=3), names=[N1]))
    assert sighted("SA705", seen) == [(f"VIP {VIP}", f"{A} (node1 eth0) gave 3 answers to 2 request(s)")]
    assert looked(seen).exit_code == 0
    assert sighted("SA705", evidence(objects(), GOOD)) == []


def test_one_form_of_request_alone_is_answered() -> None:
    seen = evidence(announced("node1"), report(answer(A, "request"), names=[N1]))
    ((_, told),) = sighted("SA706", seen)
    assert told == f"{A} (node1 eth0) answers an ordinary request and not an address probe"
    assert sighted("SA706", evidence(objects(), GOOD)) == []
