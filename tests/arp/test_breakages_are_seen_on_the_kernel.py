"""Each known breakage, made on the kernel: asked, strictARP really switched, asked again."""

from pathlib import Path
from typing import Any

import pytest

from strictarp.arp.preflight import preflight
from strictarp.arp.switching import Scope
from strictarp.cli.facts import read_node
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from strictarp.sysctl.effective import strictarp_writes
from support.arp_kernel import Wire, node
from support.breakages import ROWS, Row
from support.case_kernel import ask, set_up
from support.near_tools import bring_near
from support.segment import needs_root

HERE = frozenset({"bridge", "macvlan"})
IN_THE_VM = HERE | {"dummy", "vlan", "bond", "vrf"}
CONF = Path("/proc/sys/net/ipv4/conf")


def frames_of(row: Row) -> list[dict[str, Any]]:
    return [
        {"in": name, "sip": sender, "tip": target, "sha": f"02:cc:00:00:00:{number:02x}"}
        for number, (name, sender, target, _, _) in enumerate(row.asks)
    ]


def switch(space: Namespace, name: str) -> None:
    """As kube-proxy and the guard do it, values that are strict already left alone."""
    with namespaces.entered(space):
        old = [int((CONF / name / key).read_text()) for key in ("arp_ignore", "arp_announce")]
        for key, value in strictarp_writes(*old).items():
            (CONF / name / key).write_text(str(value))


def answers(space: Namespace, row: Row, wire: Wire) -> list[bool]:
    """Asked again where a link may have needed its moment."""
    wanted = [row.asks[i][3] for i in range(len(row.asks))]
    found: list[bool] = []
    for settle in (0.05, 0.5, 1.6):
        found = [bool(each) for each in ask(space, row.case, frames_of(row), wire, settle=settle)]
        if found == wanted:
            break
    return found


def seen_and_told(row: Row, wire: Wire, kinds: frozenset[str]) -> None:
    wire.number += 1
    with node() as space:
        done, refused = set_up(space, row.case, wire, kinds)
        assert (refused, done != {}) == (0, True)
        with namespaces.entered(space):
            facts, _ = read_node()
        before = answers(space, row, wire)
        switch(space, "all")
        after = [bool(each) for each in ask(space, row.case, frames_of(row), wire, settle=0.05)]
    assert before == [each[3] for each in row.asks]
    assert after == [each[4] for each in row.asks]
    told = {(each.interface, each.target) for each in preflight(facts, Scope.ALL, ("eth0",)).losses}
    assert set(row.lost) <= told


def all_rows(kinds: frozenset[str]) -> int:
    wire = Wire()
    rows = [row for row in ROWS if row.needs <= kinds]
    for row in rows:
        try:
            seen_and_told(row, wire, kinds)
        except AssertionError as error:
            raise AssertionError(f"{row.name}: {error}") from error
    wire.close()
    return len(rows)


@needs_root
@pytest.mark.netns
@pytest.mark.timeout(300)
def test_what_is_told_of_each_configuration_is_what_the_kernel_does() -> None:
    assert all_rows(HERE) >= 40


@pytest.mark.vm
@pytest.mark.timeout(600)
def test_vlans_bonds_and_vrfs_do_what_is_told_of_them() -> None:
    rows = [row for row in ROWS if row.needs]
    assert len(rows) >= 7
    bring_near("ip")
    wire = Wire()
    for row in rows:
        seen_and_told(row, wire, IN_THE_VM)
    wire.close()
