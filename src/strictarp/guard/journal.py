"""What the guard found before it wrote, so that it can be put back. Pure: values and their JSON.

Found are the values of the first look at a key, whether they had to be changed or not: "put back" means the
state before the guard came. An entry says what was written before it is written: a crash at any point leaves
a journal that knows at least as much as was done.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from strictarp.errors import UserError
from strictarp.guard.keys import WANTED, Key, Seen, Write, dotted_name

KIND = "strictarp-guard-journal"
VERSION = 1


class Origin(msgspec.Struct, frozen=True):
    """Where values belong to. boot: the kernel's boot id, for a reboot forgets them all. namespace: the
    network namespace's inode.
    """

    boot: str
    namespace: int


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sysctl. index: of the device, 0 for `all`. interface: its name when seen last.

    found: before the guard. written: what the guard has written or was about to; None: nothing so far.
    """

    index: int
    interface: str
    name: str
    found: int
    written: int | None = None

    @property
    def key(self) -> Key:
        """What it is about."""
        return Key(self.index, self.name)

    @property
    def sysctl(self) -> str:
        """Its dotted name."""
        return dotted_name(self.interface, self.name)


class Journal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """scope, uplinks: those asserted last. table: name of an nftables table of family arp, empty without."""

    origin: Origin
    scope: str = ""
    uplinks: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    table: str = ""
    kind: str = KIND
    version: int = VERSION

    @property
    def by_key(self) -> Mapping[Key, Entry]:
        """Entries by what they are about."""
        return {entry.key: entry for entry in self.entries}


class UnusableJournal(UserError):
    """The file is not a journal of ours for this host; it is left as it is, and nothing is written."""


def encode(journal: Journal) -> bytes:
    """As JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(journal), indent=2) + b"\n"


def decode(data: bytes, source: str) -> Journal:
    """The journal in a file named `source`. Raises UnusableJournal, which says how to mend it."""
    mend = (
        "nothing was changed. To give up what it says about former values, move the file away and "
        "check `sysctl -a --pattern 'arp_(ignore|announce)'` yourself"
    )
    try:
        head = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        kind, version = (
            msgspec.json.decode(head.get(key, msgspec.Raw(b"null"))) for key in ("kind", "version")
        )
        if kind != KIND:
            raise UnusableJournal(f"journal {source}: kind {kind!r} where {KIND!r} is expected; {mend}")
        if version != VERSION:
            raise UnusableJournal(
                f"journal {source}: version {version!r}, this strictarp knows {VERSION}; {mend}"
            )
        journal = msgspec.json.decode(data, type=Journal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnusableJournal(f"journal {source}: cannot be read ({error}); {mend}") from None
    known = {entry.key for entry in journal.entries}
    odd = [entry for entry in journal.entries if entry.name not in WANTED or entry.index < 0]
    if odd or len(known) != len(journal.entries):
        what = f"entry {odd[0].index}/{odd[0].name}" if odd else "a key that stands there twice"
        raise UnusableJournal(f"journal {source}: {what} is none of ours; {mend}")
    return journal


def opened(stored: Journal | None, origin: Origin, source: str) -> tuple[Journal, bool]:
    """The journal to go on with, and whether one of an earlier boot was dropped: its values are gone.

    Raises UnusableJournal for one of another network namespace.
    """
    if stored is None or stored.origin.boot != origin.boot:
        return Journal(origin), stored is not None
    if stored.origin.namespace != origin.namespace:
        raise UnusableJournal(
            f"journal {source}: of another network namespace ({stored.origin.namespace}, this is "
            f"{origin.namespace}); run in the host's, or give each a --state of its own"
        )
    return stored, False


def noted(journal: Journal, seen: Seen, keys: Collection[Key], writes: Collection[Write]) -> Journal:
    """With everything that must be known before `writes` are done. The same value when nothing is new.

    A device that was made anew has new keys, with values of its own. Names follow renamings.
    """
    entries = dict(journal.by_key)
    for key in keys:
        if key in seen.values and key not in entries:
            entries[key] = Entry(key.index, seen.interfaces[key.index], key.name, seen.values[key])
    for write in writes:
        entries[write.key] = msgspec.structs.replace(entries[write.key], written=write.value)
    for key, entry in entries.items():
        name = seen.interfaces.get(key.index, entry.interface)
        if name != entry.interface:
            entries[key] = msgspec.structs.replace(entry, interface=name)
    made = tuple(entries.values())
    return journal if made == journal.entries else msgspec.structs.replace(journal, entries=made)


def without(journal: Journal, keys: Collection[Key]) -> Journal:
    """Without what was put back."""
    left = tuple(entry for entry in journal.entries if entry.key not in keys)
    return msgspec.structs.replace(journal, entries=left)
