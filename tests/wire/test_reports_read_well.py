"""What `strictarp probe` prints."""

from __future__ import annotations

from ipaddress import IPv4Address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp.probing import Answerer, Findings, Verdict, exit_code
from strictarp.wire.culprits import evidence
from strictarp.wire.reporting import (
    Report,
    answerer_table,
    blame,
    headline,
    lines_of,
    printable,
    report,
    table,
)
from support.wire_objects import VIP, answers_of_nodes, found, mac, node

KNOWN = evidence(nodes=[node(1), node(2)], answered=answers_of_nodes(1, 2))
VIPS = {IPv4Address(VIP): ("default/web",)}
UNKNOWN = Findings("203.0.113.1", "", "probe", "0.0.0.0", Verdict.UNKNOWN, (), False, 0.0, "no route to it")


def reported(*findings: Findings) -> tuple[Report, ...]:
    return report(findings, KNOWN, VIPS)


def test_a_table_shows_each_answerer_once_and_why_an_address_was_not_asked_for() -> None:
    both = Answerer(mac(1), 1, 0.2, None, ("request",))
    only_request = Findings("192.0.2.9", "eth0", "both", "192.0.2.1", Verdict.ONE, (both,), False, 1.2)
    reports = reported(found(VIP, mac(1), mac(2)), only_request, found("192.0.2.8"), UNKNOWN)
    assert lines_of(table(reports)) == [
        "address      Services     verdict  MAC address        answers           first after  who",
        f"192.0.2.100  default/web  several  {mac(1)}  1                 0.20 ms      n1",
        f"                                   {mac(2)}  1                 0.20 ms      n2",
        f"192.0.2.9                 one      {mac(1)}  1 (request only)  0.20 ms      n1",
        "192.0.2.8                 nobody",
        f"203.0.113.1               unknown{' ' * 52}no route to it",
    ]
    assert headline(reports) == (
        "4 addresses: 1 answered by exactly one host, 1 by several, 1 by nobody, 1 could not be asked for"
    )


def test_without_services_there_is_no_column_for_them() -> None:
    assert table(reported(found("192.0.2.8")))[0][:2] == ("address", "verdict")


def test_a_single_address_gets_a_sentence_and_its_answerers() -> None:
    (one,) = reported(found(VIP, mac(1)))
    assert headline([one]) == f"{mac(1)} answers for {VIP} on eth0"
    assert answerer_table(one)[1] == (mac(1), "1", "0.20 ms", "n1")
    assert list(blame([one])) == []


def test_the_same_fault_of_one_host_is_told_once_for_all_addresses() -> None:
    ips = [f"192.0.2.{100 + number}" for number in range(6)]
    lines = list(blame(reported(*(found(ip, mac(1), mac(2)) for ip in ips))))
    assert len([line for line in lines if "culprit" in line]) == 2  # n1 and n2: both answer for all
    assert "192.0.2.103 and 2 more" in lines[0]


def test_the_same_fault_with_another_reason_is_told_by_itself() -> None:
    findings = [found(ip, mac(1), mac(2)) for ip in (VIP, "192.0.2.101")]
    reasons = {VIP: "held on kube-ipvs0", "192.0.2.101": "held on lo"}
    reports = [
        msgspec.structs.replace(
            each, culprits=tuple(msgspec.structs.replace(one, why=reasons[each.ip]) for one in each.culprits)
        )
        for each in report(findings, KNOWN, VIPS)
    ]
    told = "\n".join(blame(reports))
    assert told.count("held on kube-ipvs0") == told.count("held on lo") == 2


def test_an_address_of_this_very_host_is_told() -> None:
    own = msgspec.structs.replace(found(VIP, mac(1)), own_address=True)
    assert "this host has 192.0.2.100 itself" in next(blame(reported(own)))


def test_a_form_that_could_not_be_asked_is_told() -> None:
    half = msgspec.structs.replace(found(VIP, mac(1)), reason="asked as probe only: no address")
    assert list(blame(reported(half))) == [f"{VIP}: asked as probe only: no address"]


def test_a_report_reads_back_as_findings() -> None:
    (one,) = reported(found(VIP, mac(1)))
    plain = msgspec.json.decode(msgspec.json.encode(one), type=Findings)
    assert plain == found(VIP, mac(1))


@given(st.text())
def test_nothing_printed_can_steer_a_terminal(text: str) -> None:
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        ([Verdict.ONE], 0),
        ([Verdict.ONE, Verdict.UNKNOWN], 3),
        ([Verdict.UNKNOWN, Verdict.NOBODY], 1),
        ([Verdict.NOBODY, Verdict.SEVERAL, Verdict.UNKNOWN], 2),
    ],
)
def test_what_was_seen_to_be_wrong_counts_first(verdicts: list[Verdict], code: int) -> None:
    assert exit_code(verdicts) == code
