"""What must be written so that strictARP is in force, and what to put back afterwards. Pure."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from strictarp.arp.switching import Scope
from strictarp.guard.journal import Entry, Journal
from strictarp.guard.keys import ALL, ALL_INDEX, KEYS, WANTED, Key, Seen, Write
from strictarp.sysctl.effective import (
    Announce,
    Verdict,
    announce_level,
    effective,
    hides_vips,
    strictarp_in_force,
)


def guarded(scope: Scope, seen: Seen, uplinks: Collection[str]) -> frozenset[Key]:
    """Keys that the guard may write in a scope: what the journal must know."""
    if scope is Scope.VIPS:
        return frozenset()
    places = {index for index, name in seen.interfaces.items() if index and name in uplinks}
    if scope is Scope.ALL:
        places.add(ALL_INDEX)
    return frozenset(Key(place, name) for place in places for name in KEYS)


def writes(scope: Scope, seen: Seen, uplinks: Collection[str]) -> tuple[Write, ...]:
    """Values to write now. 1 and 2, where the value is not strict already; 2 and 8 of arp_ignore stay.

    Scope `all` writes `all`, and an uplink's own value only where that defeats it: the kernel takes the
    larger number, and 3 is no stricter than 1. Scope `uplinks` writes the uplinks' own values, whatever `all`
    is: what is in force by somebody else's `all` would end with it.
    """
    everywhere = {name: seen.values.get(Key(ALL_INDEX, name), 0) for name in KEYS}
    if scope is Scope.ALL:
        everywhere = {
            name: value if strict(name, value) else WANTED[name] for name, value in everywhere.items()
        }
    found: list[Write] = []
    for key in sorted(guarded(scope, seen, uplinks) & seen.values.keys()):
        value = seen.values[key]
        own_counts = scope is Scope.UPLINKS or key.index == ALL_INDEX
        counts = value if own_counts else effective(key.name, everywhere[key.name], value)
        if not strict(key.name, counts):
            found.append(Write(key, value, WANTED[key.name]))
    return tuple(found)


def strict(name: str, value: int) -> bool:
    """An effective value at which Service IPs are not answered (arp_ignore), or not named (arp_announce)."""
    return hides_vips(value) if name == "arp_ignore" else announce_level(value) is Announce.BEST_OF_DEVICE


def by_numbers(seen: Seen, interface: str) -> Verdict:
    """Whether the sysctls alone bring strictARP into force on an interface."""
    own = {name: seen.of(interface, name) for name in KEYS}
    if None in own.values():
        return Verdict(False, f"{interface} is not there")
    everywhere = {name: seen.of(ALL, name) or 0 for name in KEYS}
    return strictarp_in_force(
        everywhere["arp_ignore"],
        own["arp_ignore"] or 0,
        all_announce=everywhere["arp_announce"],
        dev_announce=own["arp_announce"] or 0,
    )


class Left(msgspec.Struct, frozen=True):
    """An entry that is not put back, and why. value: what is there now, None without the interface."""

    entry: Entry
    value: int | None
    reason: str

    @property
    def gone(self) -> bool:
        """There is nothing to put it back to."""
        return self.value is None


class Release(msgspec.Struct, frozen=True):
    """writes: to put values back. settled: entries whose value is as it was found. left: to be told."""

    writes: tuple[Write, ...]
    settled: tuple[Entry, ...]
    left: tuple[Left, ...]

    @property
    def keys(self) -> frozenset[Key]:
        """Everything that it is about."""
        found = [write.key for write in self.writes] + [entry.key for entry in self.settled]
        return frozenset((*found, *(left.entry.key for left in self.left)))


def release(journal: Journal, seen: Seen, *, keep: Collection[Key] = ()) -> Release:
    """How to put back what the journal found: only where the value is still what the guard wrote.

    keep: keys that stay guarded, in another scope.
    """
    back: list[Write] = []
    settled: list[Entry] = []
    left: list[Left] = []
    for entry in journal.entries:
        if entry.key in keep:
            continue
        value = seen.values.get(entry.key)
        if value is None:
            left.append(
                Left(entry, None, f"{entry.interface} is gone, or was made anew: the new one's stays")
            )
        elif value == entry.found:
            settled.append(entry)
        elif value == entry.written:
            back.append(Write(entry.key, value, entry.found))
        else:
            ours = "never written by us" if entry.written is None else f"ours was {entry.written}"
            left.append(
                Left(entry, value, f"somebody set it to {value} since ({ours}, found was {entry.found})")
            )
    return Release(tuple(back), tuple(settled), tuple(left))
