"""The annotation that has an owner announce again: by the owner, for a new value, at a bounded rate."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp import frames as arp
from strictarp.kube.custom import ANNOUNCE_AGAIN
from strictarp.speaker.events import MoveRequested, ViewChanged
from strictarp.speaker.links import Place
from strictarp.speaker.picture import Picture, vips
from strictarp.speaker.settings import MS, SECOND
from strictarp.speaker.view import Vip
from support.speaker_objects import facts, service, slice_of
from support.speakers import SETTINGS, VIP, Table

QUIET = 20 * SECOND
ROUNDS = len(SETTINGS.announce)


def _wish(table: Table, wish: str, *names: str, of: str = "default/web") -> None:
    """The API shows every node, or these, the Service with this value."""
    for name in names or table.machines:
        view = table.view(name)
        shown = {
            address: msgspec.structs.replace(vip, again=((of, wish),)) for address, vip in view.vips.items()
        }
        table.feed(name, ViewChanged(msgspec.structs.replace(view, vips=shown)))


def _bursts(table: Table, since: int) -> list[tuple[int, bytes]]:
    """Gratuitous requests with whom they name, in order of time."""
    frames = [arp.decode(data) for data in table.sent[since:] if data[12:14] == b"\x08\x06"]
    return [(frame.operation, frame.sender_mac) for frame in frames if frame.is_gratuitous]


def _settled() -> Table:
    table = Table().settled()
    _wish(table, "")
    table.after(QUIET)
    return table


def test_a_new_value_brings_all_rounds_from_the_owner_and_nothing_from_the_others() -> None:
    table = _settled()
    since = len(table.sent)
    _wish(table, "2026-01-01T00:00:00Z")
    table.after(SETTINGS.announce[-1] + MS)
    owner = table.macs[table.first()[0]]
    assert _bursts(table, since) == [(arp.REQUEST, owner), (arp.REPLY, owner)] * ROUNDS
    assert table.owners() == table.first()[:1]


def test_the_first_sight_of_a_service_asks_for_nothing() -> None:
    table = Table().settled()
    table.after(QUIET)
    since = len(table.sent)
    _wish(table, "2026-01-01T00:00:00Z")
    table.after(QUIET)
    assert not _bursts(table, since)


def test_the_same_value_again_and_its_removal_ask_for_nothing() -> None:
    table = _settled()
    _wish(table, "once")
    table.after(QUIET)
    since = len(table.sent)
    _wish(table, "once")
    _wish(table, "")
    table.after(QUIET)
    assert not _bursts(table, since)


def test_a_node_that_takes_over_later_does_not_repeat_an_old_wish() -> None:
    table = _settled()
    first, second, _ = table.first()
    _wish(table, "once")
    table.after(QUIET)
    table.feed(first, MoveRequested(VIP, second))
    table.after(QUIET)
    assert table.owners() == [second]
    since = len(table.sent)
    _wish(table, "once")
    table.after(QUIET)
    assert not _bursts(table, since)


@pytest.mark.parametrize("every", [MS, 100 * MS, SECOND, 4 * SECOND])
def test_whoever_asks_all_the_time_gets_no_more_than_rounds_after_rounds(every: int) -> None:
    table = _settled()
    since, began = len(table.sent), table.now
    for count in range(10 * SECOND // every):
        _wish(table, str(count))
        table.after(every)
    table.after(QUIET)
    spent = 10 * SECOND + SETTINGS.announce[-1]
    assert table.now - began >= spent
    assert 2 * ROUNDS <= len(_bursts(table, since)) <= 2 * ROUNDS * (spent // SETTINGS.announce[-1] + 1)


def test_the_picture_carries_the_wish_of_each_service_that_shares_an_address() -> None:
    place = Place(2, "eth0", bytes.fromhex("020000000001"), True, ((bytes([192, 0, 2, 11]), 24),))
    made = Picture()
    made.put_facts(facts())
    for name, notes in (("one", {ANNOUNCE_AGAIN: "t1"}), ("two", {})):
        made.put_service(f"default/{name}", service(name, annotations=notes))
        made.put_slice(None, slice_of(name))
    made.judge()
    (vip,) = vips(made.verdicts, [place], "node1")[2].values()
    assert vip.again == (("default/one", "t1"), ("default/two", ""))


_wishes = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "t1", "t2"]), max_size=3)


@given(before=_wishes, after=_wishes)
def test_only_a_new_value_of_a_service_known_before_asks(
    before: dict[str, str], after: dict[str, str]
) -> None:
    def vip(wishes: dict[str, str]) -> Vip:
        return Vip(VIP, (), eligible=True, again=tuple(wishes.items()))

    new = {name for name in before.keys() & after.keys() if after[name] not in ("", before[name])}
    assert vip(after).asks_again(vip(before)) == bool(new)
