"""Reading and writing the guarded sysctls through files that stay open. Thin.

An open file below /proc/sys/net/ipv4/conf/NAME belongs to that very device: when the device goes, or is
renamed, reading gives ENOENT (proc_sys_call_handler in fs/proc/proc_sysctl.c), even if another of its name
has come meanwhile. So a value is never written to a device that was made anew, and a look costs one system
call a key.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from strictarp.guard.keys import ALL, ALL_INDEX, KEYS, Key, Seen, Write
from strictarp.sysctl import files
from strictarp.sysctl.files import BadValue, Missing, SysctlError

_LONGEST = 32


class Sysctls:
    """Of the network namespace that the calling thread is in. `calls` counts system calls of reads."""

    def __init__(self, root: Path = files.PROC_SYS) -> None:
        self.calls = 0
        self._root = root
        self._open: dict[Key, int] = {}

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def read(self, devices: Mapping[int, str]) -> Seen:
        """`all` and these devices (index → name). What is gone is left out. Raises SysctlError."""
        interfaces = {ALL_INDEX: ALL, **devices}
        values: dict[Key, int] = {}
        for key in [key for key in self._open if key.index not in interfaces]:
            os.close(self._open.pop(key))
        for index, interface in interfaces.items():
            for name in KEYS:
                with contextlib.suppress(Missing):
                    values[Key(index, name)] = self._value(Key(index, name), interface)
        return Seen(interfaces, values)

    def write(self, write: Write, seen: Seen) -> None:
        """Write a value that was read before. Raises Missing when the device went, and SysctlError."""
        name = seen.dotted(write.key)
        self._value(write.key, seen.interfaces[write.key.index])
        try:
            os.pwrite(self._open[write.key], f"{write.value}\n".encode(), 0)
        except OSError as error:
            raise files.explained(name, error, write.value) from None

    def _value(self, key: Key, interface: str) -> int:
        name = files.conf(interface, key.name)
        if key in self._open:
            try:
                return self._number(name, self._open[key])
            except SysctlError:
                os.close(self._open.pop(key))
        self._open[key] = self._opened(name)
        try:
            # In this order: a device that still answers after its index was looked up is the one with it.
            if key.index != ALL_INDEX and self._index(name, interface) != key.index:
                raise Missing(name, "the interface was made anew meanwhile")
            return self._number(name, self._open[key])
        except SysctlError:
            os.close(self._open.pop(key))
            raise

    def _opened(self, name: str) -> int:
        path = self._root / files.relative_path(name)
        self.calls += 1
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except PermissionError:
            pass
        except OSError as error:
            if error.errno != files.READ_ONLY:
                raise files.explained(name, error) from None
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise files.explained(name, error) from None

    def _index(self, name: str, interface: str) -> int:
        self.calls += 1
        try:
            return socket.if_nametoindex(interface)
        except OSError as error:
            raise Missing(name, str(error.strerror)) from None

    def _number(self, name: str, descriptor: int) -> int:
        self.calls += 1
        try:
            text = os.pread(descriptor, _LONGEST, 0)
        except OSError as error:
            raise files.explained(name, error) from None
        try:
            return int(text)
        except ValueError:
            raise BadValue(name, f"holds {text!r} where a number is expected") from None
