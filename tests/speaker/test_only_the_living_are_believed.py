"""Frames that count: a new incarnation proves that it lives, a recording changes nothing."""

from __future__ import annotations

from strictarp.hello.messages import Challenge, Claim, Hello, Response
from strictarp.speaker.actions import Kind
from strictarp.speaker.settings import MS, SECOND
from support.speakers import SETTINGS, WAY, Table

T, P, S = SETTINGS.silence, SETTINGS.claim, SETTINGS.slot


def _of_type(table: Table, source: str, number: int) -> list[bytes]:
    """What a node sent of one type, as bytes."""
    mac = table.macs[source]
    return [
        data for data in table.sent if data[6:12] == mac and data[12:14] == b"\x88\xb5" and data[19] == number
    ]


def test_a_new_incarnation_is_asked_for_proof_and_counts_once_it_has_answered() -> None:
    table = Table(("a", "b"))
    table.after(2 * WAY + 1)
    assert table.messages(Challenge)
    assert not table.reported(Kind.PEER_HEARD)
    table.after(2 * WAY)
    assert table.messages(Response)
    assert [report.node for report in table.reported(Kind.PEER_HEARD, "a")]


def test_recorded_hellos_do_not_keep_a_dead_owner_alive() -> None:
    table = Table().settled()
    first, second, third = table.first()
    tape = _of_type(table, first, 1)[-8:]
    table.kill(first)
    for _ in range(30):
        for data in tape:
            for name in (second, third):
                table.inject(name, data)
        table.after(20 * MS)
    assert table.owners() == [second]


def test_recorded_hellos_of_an_earlier_life_bring_nobody_to_life() -> None:
    table = Table().settled()
    first, second, third = table.first()
    tape = _of_type(table, first, 1)
    table.kill(first)
    table.start(second, seed="again", view=table.view(second))
    table.after(SECOND)
    before = table.now
    for data in tape[-5:]:
        table.inject(second, data)
    table.after(200 * MS)
    assert not [each for each in table.reported(Kind.PEER_HEARD, second, since=before) if each.node == first]
    assert table.owners() == [third]


def test_a_recorded_claim_stops_no_other_claim() -> None:
    table = Table().settled()
    first, second, third = table.first()
    table.kill(first)
    table.after(SECOND)
    assert table.owners() == [second]
    tape = _of_type(table, second, 2)
    assert tape
    table.kill(second)
    before = table.now
    while table.now < before + T + P + S:
        for data in tape:
            table.inject(third, data)
        table.after(10 * MS)
    assert table.owners() == [third]


def test_a_changed_frame_and_one_from_another_source_are_counted_and_change_nothing() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    data = _of_type(table, second, 1)[-1]
    before = table.machines[first].counters["unauthenticated"]
    table.inject(first, data[:70] + bytes((data[70] ^ 1,)) + data[71:])
    table.inject(first, data[:6] + b"\x02\0\0\0\0\x99" + data[12:])
    assert table.machines[first].counters["unauthenticated"] == before + 2
    assert table.owners() == [first]


def test_a_claim_names_the_last_hello_heard_of_the_owner() -> None:
    table = Table().settled()
    first, second, _ = table.first()
    table.kill(first)
    table.after(SECOND)
    claim = table.messages(Claim, second)[-1]
    assert isinstance(claim, Claim)
    assert claim.highest_seq == int.from_bytes(_of_type(table, first, 1)[-1][46:54], "big")
    assert isinstance(table.messages(Hello, first)[-1], Hello)
