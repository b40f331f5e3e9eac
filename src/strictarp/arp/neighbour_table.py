"""The neighbour table of a host: what frames and packets do to it. Pure.

Which entries a frame creates or changes is told by Linux net/ipv4/arp.c (the end of arp_process, arp_accept,
arp_is_garp) and neigh_event_ns; how an entry lives on stands in `neighbours`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strictarp.arp import neighbours
from strictarp.arp.addresses import confirm
from strictarp.arp.announcing import solicit
from strictarp.arp.deciding import packet_kind
from strictarp.arp.decision import Decision, Effect
from strictarp.arp.facts import BROADCAST, SCOPE_LINK, UNICAST, Host
from strictarp.arp.fib import address_type
from strictarp.arp.frames import REPLY, REQUEST
from strictarp.arp.neighbours import DEFAULT_TIMING, Ask, Entry, State, Timing
from strictarp.arp.packets import Packet

Key = tuple[str, int]
"""Device and address."""


class Table(msgspec.Struct, frozen=True):
    """Entries by device and address, and the timing of each device."""

    entries: Mapping[Key, Entry] = {}
    timing: Mapping[str, Timing] = {}

    def of(self, device: str) -> Timing:
        """The timing of a device."""
        return self.timing.get(device, DEFAULT_TIMING)

    def put(self, key: Key, entry: Entry) -> Table:
        """The table with this entry."""
        return msgspec.structs.replace(self, entries={**self.entries, key: entry})

    def without(self, device: str) -> Table:
        """Entries of a device are gone, but permanent ones (neigh_flush_dev)."""
        kept = {
            key: entry
            for key, entry in self.entries.items()
            if key[0] != device or entry.state is State.PERMANENT
        }
        return msgspec.structs.replace(self, entries=kept)

    def wake(self) -> float | None:
        """When `expire` is to be called next, None for never."""
        return min((entry.due for entry in self.entries.values() if entry.due is not None), default=None)


def hear(
    host: Host, table: Table, packet: Packet, decision: Decision, now: float, *, kind: str = ""
) -> Table:
    """What a frame does to the table, given what was decided about it.

    kind: the packet type, where a layer below the device told it (as for `deciding.decide`).
    """
    key = decision.device, packet.sender_ip
    if decision.effect is Effect.NONE:
        return table
    timing = table.of(decision.device)
    if decision.effect is Effect.LEARN:
        entry = table.entries.get(key) or fresh(host, key, now)
        entry = neighbours.update(entry, packet.sender_mac, State.STALE, now, override=True, timing=timing)
        return table.put(key, entry)
    found = table.entries.get(key)
    garp = is_garp(host, decision.device, packet)
    if found is None:
        if not (
            _accepts(host, decision.device, packet.sender_ip) and _may_create(host, decision, packet, garp)
        ):
            return table
        found = fresh(host, key, now)
    kind = kind or packet_kind(host.by_name[decision.device].mac, packet)
    state = State.REACHABLE if packet.operation == REPLY and kind == "host" else State.STALE
    override = garp or neighbours.is_open(found, now, timing)
    return table.put(
        key, neighbours.update(found, packet.sender_mac, state, now, override=override, timing=timing)
    )


def fresh(host: Host, key: Key, now: float) -> Entry:
    """A new entry; one for a broadcast or multicast address never asks nor learns (arp_constructor)."""
    device, address = key
    kind = address_type(host, address, device)
    quiet = not host.by_name[device].arp or kind in (BROADCAST, "multicast")
    return Entry(updated=now, state=State.NOARP if quiet else State.NONE)


def is_garp(host: Host, device: str, packet: Packet) -> bool:
    """An announcement: sender and target are one, and a reply repeats the sender's MAC as target's."""
    if packet.sender_ip != packet.target_ip:
        return False
    if packet.operation == REPLY and packet.target_mac != packet.sender_mac:
        return False
    return address_type(host, packet.sender_ip, device) == UNICAST


def _accepts(host: Host, device: str, sender: int) -> bool:
    level = host.conf("arp_accept", device)
    if level == 2:
        return bool(confirm(host, device, sender, 0, scope=SCOPE_LINK))
    return level == 1


def _may_create(host: Host, decision: Decision, packet: Packet, garp: bool) -> bool:
    """arp_accept lets an announcement make an entry, and a reply from a sender that is unicast."""
    if garp or packet.operation == REQUEST:
        return garp
    return address_type(host, packet.sender_ip, decision.device) == UNICAST


def resolve(
    host: Host, table: Table, device: str, target: int, now: float, *, source: int = 0
) -> tuple[Table, list[Packet]]:
    """The host sends a packet to `target`, which is on the link; the requests that leave."""
    key = device, target
    entry = table.entries.get(key) or fresh(host, key, now)
    entry, asked = neighbours.use(entry, now, source=source, timing=table.of(device))
    return table.put(key, entry), _requests(host, key, asked)


def expire(host: Host, table: Table, now: float) -> tuple[Table, list[Packet]]:
    """Timers that ran out until `now`; the requests that leave."""
    sent: list[Packet] = []
    for key, entry in table.entries.items():
        after, asked = neighbours.expire(entry, now, timing=table.of(key[0]))
        if after is not entry:
            table = table.put(key, after)
        sent += _requests(host, key, asked)
    return table, sent


def _requests(host: Host, key: Key, asked: tuple[Ask, ...]) -> list[Packet]:
    device, target = key
    made = (solicit(host, device, target, ask.source, to=ask.to) for ask in asked)
    return [packet for packet in made if packet is not None]


def carrier_lost(host: Host, table: Table, device: str) -> Table:
    """The link lost its carrier: its entries go, unless arp_evict_nocarrier says otherwise."""
    return table.without(device) if host.conf("arp_evict_nocarrier", device) else table
