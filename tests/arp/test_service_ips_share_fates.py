"""Preflight judges one Service IP for many: only those are together that nothing tells apart."""

from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.arp.announcing import solicit
from strictarp.arp.facts import Host, dotted
from strictarp.arp.fates import fates, named
from strictarp.arp.losses import answered
from strictarp.arp.preflight import Report, preflight, receivers
from strictarp.arp.switching import Scope
from support.arp_kernel import model_of
from support.command_hosts import IPVS, host, nic
from support.random_hosts import Dev, RandomHost, make

NODE = "addr add 192.0.2.11/24 dev eth0"
FAR, NEAR = ("addr add 10.96.0.1/32 dev kube-ipvs0", "addr add 192.0.2.100/32 dev kube-ipvs0")
_HOOK = "type filter hook input priority 0; policy accept;"
DROP_FAR = f"table arp t {{ chain c {{ {_HOOK} arp daddr ip 10.96.0.1 drop; }} }}"


def node(*lines: str, nft: str = "") -> Host:
    return host(NODE, FAR, NEAR, *lines, devices=[nic(), IPVS], nft=nft)


def of_vips(report: Report) -> list[str]:
    return [each.target for each in report.losses if each.reason == "vip"]


def test_without_anything_that_tells_them_apart_they_are_judged_and_told_as_one() -> None:
    made = host(
        NODE, *(f"addr add 10.96.0.{i}/32 dev kube-ipvs0" for i in range(1, 200)), devices=[nic(), IPVS]
    )
    assert len(fates(made)) == 1
    assert of_vips(preflight(made, Scope.ALL)) == ["199 Service IPs"]


def test_the_one_in_the_subnet_is_named_as_sender_at_level_1_though_it_is_not_the_lowest() -> None:
    report = preflight(node("all.arp_announce=1"), Scope.ALL)
    assert [(each.source, each.before, each.after) for each in report.senders] == [
        ("192.0.2.100", "their own", "192.0.2.11")
    ]


@pytest.mark.parametrize(
    ("lines", "nft"),
    [
        ((), DROP_FAR),
        (
            ("rule add pref 50 to 10.96.0.0/16 prohibit", "rule add pref 60 lookup local", "rule del pref 0"),
            "",
        ),
        (("route del local 10.96.0.1 dev kube-ipvs0 table local",), ""),
    ],
)
def test_the_lowest_that_is_silent_already_hides_no_other(lines: tuple[str, ...], nft: str) -> None:
    assert of_vips(preflight(node(*lines, nft=nft), Scope.ALL)) == ["192.0.2.100"]


def test_scopes_tell_them_apart() -> None:
    hidden = "addr add 10.96.0.0/32 scope host dev kube-ipvs0"
    report = preflight(node(hidden, "all.arp_ignore=3"), Scope.VIPS, ("eth0",))
    assert of_vips(report) == ["2 of 3 Service IPs (10.96.0.1, 192.0.2.100)"]


def test_a_few_of_many_are_listed() -> None:
    assert named([5, 4, 3, 2], 9) == "4 of 9 Service IPs (0.0.0.2, 0.0.0.3, 0.0.0.4, …)"


def _with_vips(made: RandomHost, rng: Random) -> Host:
    held = {f"10.{rng.randrange(3)}.{rng.randrange(2)}.{rng.randrange(1, 255)}" for _ in range(8)}
    ipvs = Dev("kube-ipvs0", "dummy", "02:00:00:00:01:60", up=False, arp=False)
    lines = [f"ip addr add {address}/32 dev kube-ipvs0" for address in sorted(held)]
    devices, commands = (*made.devices, ipvs), (*made.commands, *lines)
    return model_of(msgspec.structs.replace(made, devices=devices, commands=commands))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 32))
def test_what_holds_for_the_first_holds_for_all_of_a_fate(seed: int) -> None:
    made = _with_vips(make(Random(seed), frozenset(), frames=1), Random(seed))
    for device in receivers(made):
        for fate in fates(made):
            for asker in (0, 0x0A000064, 0xC6336401):
                told = {answered(made, device.name, vip, asker) for vip in fate if vip != asker}
                assert len(told) <= 1, (device.name, [dotted(vip) for vip in fate])
            sent = [solicit(made, device.name, 0x0A000064, vip) for vip in fate]
            own = {each is not None and each.sender_ip == vip for each, vip in zip(sent, fate, strict=True)}
            assert len(own) == 1, (device.name, [dotted(vip) for vip in fate])
