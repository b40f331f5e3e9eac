"""More IPs than a hello lists: changes are told, what was missed is asked for page by page."""

from __future__ import annotations

from strictarp.hello.messages import MAX_HELLO_ENTRIES, Hello, Sync, SyncRequest
from strictarp.speaker.settings import MS, SECOND
from support.speakers import SETTINGS, Table

T, P, S = SETTINGS.silence, SETTINGS.claim, SETTINGS.slot


def _vips(count: int) -> list[bytes]:
    return [bytes((198, 18, number >> 8, number & 255)) for number in range(count)]


def _owned(table: Table) -> int:
    return sum(len(table.owned[name]) for name in table.machines if name not in table.dead)


def test_a_dead_owner_of_many_ips_is_replaced_for_all_of_them() -> None:
    count = 500
    table = Table(("a", "b"), vips=_vips(count)).settled()
    table.after(SECOND)
    assert _owned(table) == count
    table.kill("a")
    table.after(T + P + S + 100 * MS)
    assert len(table.owned["b"]) == count


def test_a_node_that_comes_later_learns_the_whole_set_by_pages_and_takes_nothing() -> None:
    table = Table(("a", "b"), vips=_vips(300)).settled()
    table.start("c", view=table.view("a"))
    table.show()
    table.after(SECOND)
    assert table.messages(SyncRequest, "c")
    pages = {message.page for message in table.messages(Sync) if isinstance(message, Sync)}
    assert len(pages) >= 2
    table.kill("b")
    table.after(3 * SECOND)
    assert _owned(table) == 300
    assert all(len(table.owners(vip)) == 1 for vip in table.vips)


def test_each_change_of_a_large_set_is_told_in_five_hellos() -> None:
    table = Table(("a", "b"), vips=_vips(200)).settled()
    table.kill("a")
    before = len(list(table.hellos("b")))
    table.after(3 * SECOND)
    told: dict[int, int] = {}
    hellos = list(table.hellos("b"))[before:]
    assert all(len(hello.entries) <= MAX_HELLO_ENTRIES for hello in hellos)
    for hello in hellos:
        if isinstance(hello, Hello) and hello.owned > MAX_HELLO_ENTRIES:
            for entry in hello.entries:
                told[entry.vip] = told.get(entry.vip, 0) + 1
    assert told
    assert min(told.values()) >= 5


def test_what_a_peer_owns_is_unknown_while_its_set_is_not_complete() -> None:
    """A node that missed the changes must not take them for free IPs."""
    table = Table(("a", "b"), vips=_vips(200)).settled()
    table.start("c", view=table.view("a"))
    table.deaf_to_hellos.add(("c", "a"))
    table.deaf_to_hellos.add(("c", "b"))
    table.show()
    table.after(4 * SECOND)
    assert not table.owned["c"]
