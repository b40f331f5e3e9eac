"""The sysctls that strictARP consists of, and where they are. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

ALL = "all"
ALL_INDEX = 0
"""Stands for `all` where devices have their index, which is never 0."""
KEYS = ("arp_ignore", "arp_announce")
WANTED: Mapping[str, int] = {"arp_ignore": 1, "arp_announce": 2}
"""What strictARP writes where a value is not strict already."""


class Key(msgspec.Struct, frozen=True, order=True, gc=False):
    """net.ipv4.conf.INTERFACE.NAME of one device for as long as that lives; index 0: of `all`.

    A device that is made anew has another index, one that is renamed keeps its index and its values.
    """

    index: int
    name: str


class Seen(msgspec.Struct, frozen=True):
    """What was read at one time. interfaces: index → name, with 0 → "all"."""

    interfaces: Mapping[int, str]
    values: Mapping[Key, int]

    def of(self, interface: str, name: str) -> int | None:
        """The value of an interface by its name; None: it is not there."""
        for index, known in self.interfaces.items():
            if known == interface:
                return self.values.get(Key(index, name))
        return None

    def dotted(self, key: Key) -> str:
        """The sysctl's name."""
        return dotted_name(self.interfaces.get(key.index, f"(interface {key.index})"), key.name)

    def told(self, writes: Iterable[Write]) -> str:
        """Writes in words."""
        return ", ".join(f"{self.dotted(each.key)} {each.before} -> {each.value}" for each in writes)


def dotted_name(interface: str, name: str) -> str:
    """The sysctl's name. A dot of an interface's name is written as a slash, as sysctl(8) does."""
    return f"net.ipv4.conf.{interface.replace('.', '/')}.{name}"


class Write(msgspec.Struct, frozen=True, gc=False):
    """A value to be written. before: what was read there."""

    key: Key
    before: int
    value: int
