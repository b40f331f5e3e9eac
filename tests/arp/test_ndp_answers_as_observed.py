"""The NDP model: against recorded kernels, and by its rules."""

import json
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.arp.ndp import (
    ALL_NODES,
    Address6,
    Host6,
    Proxy6,
    Rule6,
    Solicitation,
    decide6,
    solicited_node,
)

LINES = (Path(__file__).parent.parent / "data" / "ndp_cases.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [json.loads(line) for line in LINES]
OWN, VIP, ASKER = (int(IPv6Address(f"2001:db8::{tail}")) for tail in ("1", "200", "100"))
ANYIP = int(IPv6Address("2001:db8:5::77"))


def host_of(case: dict[str, Any]) -> Host6:
    addresses = tuple(
        Address6(device, int(IPv6Address(text.split("/")[0]))) for device, text, *_ in case["addrs"]
    )
    forwarding = any("all.forwarding=1" in command for command in case["cmds"])
    return Host6(addresses, sysctls={"e0": {"forwarding": int(forwarding)}})


def asked_by(title: str) -> Solicitation:
    """The request stands in the title."""
    target = ANYIP if title.startswith("AnyIP") else OWN if "own address" in title else VIP
    if "src ::" in title:
        return Solicitation(target, 0, solicited_node(target))
    if "to the VIP" in title:
        return Solicitation(target, ASKER, VIP)
    if "unicast NS" in title or "forwarding=1" in title:
        return Solicitation(target, ASKER, OWN)
    return Solicitation(target, ASKER, ALL_NODES if "all-nodes" in title else solicited_node(target))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_solicitation_is_answered_as_the_kernel_did(case: dict[str, Any]) -> None:
    title = case["title"]
    if "AnyIP route" in title:
        title = "AnyIP, NS sent to all-nodes"
    answer = decide6(host_of(case), "e0", asked_by(title)).answer
    shown = []
    if answer is not None:
        target = str(IPv6Address(answer.target))
        shown = [
            {
                "na_for": target,
                "from": target,
                "to": str(IPv6Address(answer.destination)),
                "R": int(answer.router),
                "S": int(answer.solicited),
                "O": int(answer.override),
                "mac": "e0",
            }
        ]
    assert shown == case["observed"]


def test_all_recorded_solicitations_are_replayed() -> None:
    assert len(CASES) == 12


def test_a_tentative_address_is_not_answered_an_optimistic_one_is() -> None:
    ask = Solicitation(VIP, ASKER, ALL_NODES)
    for optimistic, rule in ((False, Rule6.TENTATIVE), (True, Rule6.OWN_ADDRESS)):
        host = Host6((Address6("e0", VIP, tentative=True, optimistic=optimistic),))
        assert decide6(host, "e0", ask).rule is rule


def test_a_slave_of_a_vrf_answers_for_its_vrf() -> None:
    host = Host6((Address6("vrf1", VIP),), vrf={"e0": "vrf1"})
    assert decide6(host, "e0", Solicitation(VIP, ASKER, solicited_node(VIP))).answer is not None
    assert decide6(host, "e1", Solicitation(VIP, ASKER, ALL_NODES)).rule is Rule6.NOT_ON_DEVICE


def test_an_anycast_address_does_not_override() -> None:
    host = Host6((Address6("e0", VIP, anycast=True),))
    answer = decide6(host, "e0", Solicitation(VIP, ASKER, solicited_node(VIP))).answer
    assert answer is not None
    assert not answer.override


@pytest.mark.parametrize(
    ("forwarding", "proxy_ndp", "rule"),
    [(1, 1, Rule6.PROXY), (0, 1, Rule6.NOT_ON_DEVICE), (1, 0, Rule6.NOT_ON_DEVICE)],
)
def test_a_proxy_needs_forwarding_and_proxy_ndp(forwarding: int, proxy_ndp: int, rule: Rule6) -> None:
    host = Host6(
        (Address6("e0", OWN),),
        proxies=(Proxy6(VIP, "e0", router=True),),
        sysctls={"e0": {"forwarding": forwarding}, "all": {"proxy_ndp": proxy_ndp}},
    )
    decision = decide6(host, "e0", Solicitation(VIP, ASKER, solicited_node(VIP)))
    assert decision.rule is rule
    assert decision.answer is None or (decision.answer.router and not decision.answer.override)


@settings(deadline=None)
@given(st.integers(0, (1 << 128) - 1), st.sampled_from([0, ASKER]), st.integers(0, (1 << 128) - 1))
def test_nothing_but_addresses_of_the_device_is_answered(target: int, source: int, destination: int) -> None:
    host = Host6((Address6("e0", OWN), Address6("kube-ipvs0", VIP)))
    decision = decide6(host, "e0", Solicitation(target, source, destination))
    assert decision.answer is None or target == OWN
