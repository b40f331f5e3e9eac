"""Sets of VIPs that do not fit into one hello: told as changes, and page by page to whoever has missed some.

A hello carries a hash of the whole set, so a listener knows when its copy is not complete. Until it is, what
that peer may own is unknown, not free.
"""

from __future__ import annotations

from strictarp.hello import ids
from strictarp.hello.messages import MAX_HELLO_ENTRIES, MAX_SYNC_ENTRIES, Entry, Hello, Sync, SyncRequest
from strictarp.speaker.core import Core
from strictarp.speaker.peers import Collected, Peer
from strictarp.speaker.slots import Phase

TELLINGS = 5
"""Hellos that tell each change."""


def entries_to_tell(core: Core) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """What the next hello lists: the whole set while it fits, else the changes told least; and what went."""
    if len(core.owned) <= MAX_HELLO_ENTRIES:
        core.changes.clear()
        return tuple([Entry(slot.vip, slot.epoch) for slot in core.owned.values()]), ()
    entries, gone = [], []
    for vip in list(core.changes)[:MAX_HELLO_ENTRIES]:
        change = core.changes.pop(vip)
        if change.epoch is None:
            gone.append(Entry(vip, 0))
        else:
            entries.append(Entry(vip, change.epoch))
        change.told += 1
        if change.told < TELLINGS:
            core.changes[vip] = change
    return tuple(entries), tuple(gone)


def take_list(core: Core, peer: Peer, hello: Hello) -> None:
    """The list of a peer's hello; what changed by it is looked at. Asks for what is missing."""
    if peer.synced and (hello.set_version, hello.set_hash) == (peer.version, peer.set_hash):
        return
    owned = {entry.vip: entry.epoch for entry in hello.entries}
    if not hello.is_whole:
        gone = {entry.vip for entry in hello.gone}
        owned = {vip: epoch for vip, epoch in peer.owned.items() if vip not in gone} | owned
    peer.version, peer.set_hash, peer.set_size = hello.set_version, hello.set_hash, hello.owned
    _replace(core, peer, owned)
    if not peer.synced:
        _ask_next(core, peer)


def _replace(core: Core, peer: Peer, owned: dict[int, int]) -> None:
    left, came = core.peers.set_owned(peer, owned)
    peer.synced = len(owned) == peer.set_size and ids.set_hash(owned) == peer.set_hash
    for vip in came:
        slot = core.slots.get(vip)
        if slot is not None:
            slot.saw_epoch(owned[vip])
    for vip in left:
        slot = core.slots.get(vip)
        if slot is not None and slot.phase is Phase.FOREIGN:
            slot.defer(core.now + _missed_release(core))
    core.look(left)
    core.look(came)
    if peer.synced:
        peer.collected = None
        if peer in core.unsynced:
            core.unsynced.discard(peer)
            core.look(core.waiting)
    else:
        core.unsynced.add(peer)


def _missed_release(core: Core) -> int:
    """How long an IP that went from a list is left alone: its RELEASE was not heard here, and perhaps not by
    its successor either. A claim before the last repetition would take it from that one.
    """
    return max(core.settings.release_repeat, default=0) + 2 * core.settings.delay


def _ask_next(core: Core, peer: Peer) -> None:
    """Ask for the first page that is missing; each hello of an incomplete peer leads here again."""
    core.say(SyncRequest(peer.collected.missing if peer.collected else 0), to=peer.mac)


def answer_request(core: Core, peer: Peer, request: SyncRequest) -> None:
    """One page of the own set, in the order of ids, so that pages of one version fit together."""
    vips = sorted(slot.vip for slot in core.owned.values())
    pages = max(1, -(-len(vips) // MAX_SYNC_ENTRIES))
    if request.page >= pages:
        return
    start = request.page * MAX_SYNC_ENTRIES
    part = vips[start : start + MAX_SYNC_ENTRIES]
    entries = tuple([Entry(vip, core.slots[vip].epoch) for vip in part])
    core.say(Sync(core.set_version, request.page, pages, entries), to=peer.mac)


def take_page(core: Core, peer: Peer, page: Sync) -> None:
    """A page of a peer's set. Pages of another version than those at hand begin a new collection."""
    if peer.synced:
        return
    if peer.collected is None or peer.collected.version != page.version:
        peer.collected = Collected(page.version, page.pages)
    collected = peer.collected
    if page.pages != collected.total:
        return
    collected.pages[page.page] = page.entries
    if len(collected.pages) < collected.total:
        _ask_next(core, peer)
        return
    peer.collected = None
    if page.version == peer.version:
        _replace(core, peer, {entry.vip: entry.epoch for each in collected.pages.values() for entry in each})
