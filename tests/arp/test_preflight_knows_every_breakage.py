"""Each configuration that strictARP is known to break, change or leave alone: told as it is, and seen so."""

import msgspec
import pytest

from strictarp.arp.cases import Case, host_of
from strictarp.arp.preflight import Inherited, Report, preflight
from strictarp.arp.preflight_text import text
from strictarp.arp.switching import Scope
from support.breakages import ROWS, Row


def report_of(row: Row) -> Report:
    return preflight(host_of(msgspec.convert(row.case, Case)).build(), Scope.ALL, ("eth0",))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_it_is_told_as_it_is(row: Row) -> None:
    report = report_of(row)
    lost = {(each.interface, each.target): (each.reason, each.evidence) for each in report.losses}
    unknown = {key: value for key, value in lost.items() if key not in row.lost}
    assert {key: lost.get(key) for key in row.lost} == row.lost
    # Beyond the row's subject nothing is told but what nobody asks for.
    assert {key for key, (_, evidence) in unknown.items() if evidence != "none"} == set()
    fewer = {each.target: each.after for each in report.fewer}
    assert {target: fewer.get(target) for target in row.fewer} == row.fewer
    assert {each.source: each.after for each in report.senders if each.source in row.senders} == row.senders
    assert tuple(each.split(":")[0] for each in report.ineffective) == row.ineffective
    assert report.unnoticed == row.unnoticed
    assert text(report)


def inheriting(mode: int) -> Report:
    host = host_of(msgspec.convert(ROWS[0].case, Case)).build()
    return preflight(msgspec.structs.replace(host, inherit=mode), Scope.ALL)


@pytest.mark.parametrize(("mode", "told"), [(0, True), (1, True), (2, False), (3, True), (-1, False)])
def test_pods_made_afterwards_inherit_it_unless_the_kernel_is_told_otherwise(mode: int, told: bool) -> None:
    report = inheriting(mode)
    assert report.inherited == (Inherited(1, 2) if told else None)
    assert ("Pods made afterwards begin with arp_ignore=1" in text(report)) == told


def test_pods_made_afterwards_inherit_nothing_from_the_narrower_scopes() -> None:
    host = host_of(msgspec.convert(ROWS[0].case, Case)).build()
    host = msgspec.structs.replace(host, inherit=0)
    assert preflight(host, Scope.UPLINKS, ("eth0",)).inherited is None
    assert preflight(host, Scope.VIPS, ("eth0",)).inherited is None
