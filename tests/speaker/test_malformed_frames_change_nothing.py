"""Frames that are malformed, forged or repeated: no exception, no answer, no move, nothing kept of them.

`make fuzz FRAMES=…` fires more of the same.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from fuzzing import oracle, parsers
from fuzzing.frames import Surroundings, draw
from fuzzing.range import NODES, Harm, Range, kept
from strictarp.arp import frames as arp
from strictarp.arp import ndp_frames as ndp
from strictarp.hello import auth
from strictarp.hello import frames as hello
from strictarp.hello.frames import Sender
from strictarp.hello.messages import Challenge
from strictarp.hello.replay import Window
from strictarp.speaker.actions import Kind
from strictarp.speaker.events import DrainRequested
from strictarp.speaker.settings import MS, SECOND
from support.speakers import CLIENT, CLIENT6, CLIENT_MAC, CLUSTER, KEYS, VIP, VIP6, Table, address

_TOOL = Path(__file__).resolve().parents[2] / "tools" / "fuzz_frames.py"
GROUPS = (b"\xff" * 6, b"\x01\x00\x5e\0\0\1", b"\x33\x33\0\0\0\1")


def test_frames_of_all_kinds_are_fired_and_none_does_harm() -> None:
    firing = Range(20261126)
    firing.fire(25_000)
    for kind in ("mutated_arp", "mutated_ndp", "mutated_hello", "forged", "repeated", "broken_body", "noise"):
        assert firing.results[f"{kind}: refused"] > 100, kind
    assert firing.results["arp_frame: answered"] > 100, "right questions are answered all the while"
    assert firing.results["ndp_frame: answered"] > 100
    assert firing.results["unproven: refused"] > 100


def test_the_parsers_let_pass_what_the_rfcs_let_pass_and_nothing_else() -> None:
    results = parsers.fire(1, 25_000)
    for kind in ("arp", "ndp", "hello"):
        assert results[f"{kind}: refused"] > 500, kind
        assert results[f"{kind}: read"] > 50, kind
    assert results["arp: answered"] > 50
    assert results["ndp: answered"] > 50


def test_a_harm_names_its_seed_and_shows_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "asks_for", lambda *_: None)  # every answer is one too many
    with pytest.raises(Harm, match=r"seed 5, frame \d+ \(.+\) to [abc]: AssertionError: answered") as caught:
        Range(5).fire(5_000)
    assert bytes.fromhex(str(caught.value).splitlines()[1])


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (ndp, "_sum", lambda *_: 0),  # no checksum is checked
        (Window, "accept_hello", lambda *_: True),  # a hello counts again and again
        (auth, "verify", lambda *_: True),  # nobody needs the key
    ],
)
def test_bugs_planted_on_purpose_are_found(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, broken: object
) -> None:
    firing = Range(3)
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(Harm, match="seed 3, frame"):
        firing.fire(20_000)


@pytest.mark.parametrize("group", GROUPS)
def test_a_question_from_a_group_address_is_not_answered_to_the_group(group: bytes) -> None:
    table = Table().settled()
    owner = table.owners()[0]
    before = len(table.answers)
    from_group = arp.request(group, CLIENT, VIP)
    named_group = (
        arp.request(CLIENT_MAC, CLIENT, VIP)[:22] + group + arp.request(CLIENT_MAC, CLIENT, VIP)[28:]
    )
    for data in (from_group, named_group):
        table.inject(owner, data)
    assert len(table.answers) == before
    assert table.machines[owner].counters["arp: its sender is a group"] == 2


@pytest.mark.parametrize("group", GROUPS)
def test_a_solicitation_from_a_group_address_is_not_answered(group: bytes) -> None:
    table = Table(vips=[VIP6]).settled()
    owner = table.owners(VIP6)[0]
    before = len(table.answers)
    data = ndp.solicit(CLIENT_MAC, CLIENT6, VIP6)
    table.inject(owner, data[:6] + group + data[12:])
    assert len(table.answers) == before
    assert table.machines[owner].counters["ndp: its sender is a group"] == 1


def test_forged_answers_for_a_nodes_address_fill_no_memory() -> None:
    table = Table()
    table.node_addresses = NODES
    table.settled()
    owner = table.owners()[0]
    before = kept(table.machines[owner])
    for number in range(20_000):
        table.inject(owner, arp.gratuitous_reply(b"\2\1" + number.to_bytes(4, "big"), address("192.0.2.11")))
    assert kept(table.machines[owner]) - before < 2_000


def test_forged_answers_during_an_audit_fill_neither_memory_nor_the_log() -> None:
    table = Table().settled()
    owner = table.owners()[0]
    while VIP not in [slot.address for slot in _asked(table, owner)]:
        table.after(100 * MS)
    for number in range(5_000):
        table.inject(owner, arp.gratuitous_reply(b"\2\1" + number.to_bytes(4, "big"), VIP))
    table.after(SECOND)
    assert table.machines[owner].answerers[VIP] == 65  # the first 64 and its own
    assert max(len(each.detail) for _, _, each in table.reports) < 2_000
    assert table.owners() == [owner]


def _asked(table: Table, name: str) -> list:  # type: ignore[type-arg]
    core = table.machines[name]._core
    return [core.slots[vip] for vip in core.asked]


def test_a_hello_of_an_incarnation_that_proved_nothing_is_counted() -> None:
    table = Table().settled()
    owner = table.owners()[0]
    recorded = [each for each in table.sent if each[12:14] == b"\x88\xb5" and each[19] == 1]
    stranger = hello.decode(recorded[0], CLUSTER, KEYS).message
    table.inject(owner, hello.encode(stranger, Sender(CLUSTER, 77, 78), KEYS, seq=1, source=CLIENT_MAC))
    assert table.machines[owner].counters["unproven"] >= 1


def test_own_frames_that_come_back_are_counted_as_repeated() -> None:
    table = Table().settled()
    owner = table.owners()[0]
    data = next(e for e in table.sent if e[12:14] == b"\x88\xb5" and e[6:12] == table.macs[owner])
    table.inject(owner, data)
    assert table.machines[owner].counters["replayed"] == 1


def test_a_challenge_that_is_repeated_costs_one_frame_each_and_moves_nothing() -> None:
    table = Table().settled()
    owner = table.owners()[0]
    other = next(name for name in table.machines if name != owner)
    nobody = Sender(CLUSTER, 77, 78)
    data = hello.encode(Challenge(b"12345678"), nobody, KEYS, seq=1, source=CLIENT_MAC, to=table.macs[owner])
    before = len(table.sent)
    for _ in range(50):
        table.inject(owner, data)
    assert len(table.sent) - before <= 51
    assert table.owners() == [owner]
    assert other not in table.owners()


def test_a_whole_story_goes_to_the_microsecond_as_ever_while_malformed_frames_rain() -> None:
    """A cold start, a crash, a return, a hand-over: claims and offers are open in between."""
    calm, rain = _story(rain=False), _story(rain=True)
    assert {Kind.TOOK_OVER, Kind.PEER_SILENT, Kind.HANDED_OVER, Kind.SEASONED} <= {each[2] for each in calm}
    assert rain == calm


def _story(*, rain: bool) -> list[tuple[int, str, Kind, bytes, str]]:
    chance, around = random.Random(1), Range(1).around if rain else None
    table = Table(vips=[VIP, VIP6])

    def after(micros: int) -> None:
        for _ in range(micros // (2 * MS)):
            for name in table.machines if around is not None else ():
                if name not in table.dead:
                    table.inject(name, _malformed(chance, around))
            table.after(2 * MS)

    table.show()
    after(4 * SECOND)
    first = table.owners()[0]
    table.kill(first)
    after(SECOND)
    table.start(first, seed="again")
    table.show()
    after(4 * SECOND)
    table.feed(table.owners()[0], DrainRequested(leave=False))
    after(SECOND)
    return [(at, name, each.kind, each.address, each.node) for at, name, each in table.reports]


def _malformed(chance: random.Random, around: Surroundings | None) -> bytes:
    assert around is not None
    while True:
        kind, data = draw(chance, around)
        resolves = data[12:14] in (b"\x08\x06", b"\x86\xdd")
        if resolves and not oracle.is_well_formed(data):
            return data
        if kind == "broken_body" or (not resolves and not oracle.is_authentic(data, CLUSTER, KEYS.current)):
            return data


def test_the_tool_says_what_it_fired_and_with_which_seed() -> None:
    done = subprocess.run(
        [sys.executable, str(_TOOL), "3000", "--seed", "7", "--workers", "1"],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seeds 7 to 7" in done.stdout
    assert "3,000 frames" in done.stdout
    assert "no harm" in done.stdout


@pytest.mark.parametrize("arguments", [["x"], ["0"], ["10", "--seed", "a"]])
def test_bad_arguments_are_told_in_a_line(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(_TOOL), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 64
    assert done.stderr
