"""The bpf(2) system call: maps, a program, and its place at a link's ingress. Thin.

Whatever is made here is a descriptor, and gone when that is closed, at the latest with its process. Needs
CAP_BPF and CAP_NET_ADMIN, and for `attach` Linux 6.6 (TCX).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_CALLS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}
"""Number of the system call (asm/unistd.h)."""
_CALL = _CALLS.get(os.uname().machine)
_MAP_CREATE, _MAP_UPDATE, _MAP_DELETE, _PROG_LOAD, _LINK_CREATE = 0, 2, 3, 5, 28
_HASH, _ARRAY = 1, 2
_NO_PREALLOC = 1
_SCHED_CLS, _TCX_INGRESS = 3, 46
_LICENSE = b"Apache-2.0\0"
"""No function that the program calls is kept for programs under the GPL."""
_ATTRIBUTES = 144
"""Bytes of union bpf_attr that we hand over; what is behind our fields is zero."""


def hash_map(key_bytes: int, value_bytes: int, most: int) -> int:
    """A map that takes memory for what is in it only. Raises OSError."""
    return _bpf(_MAP_CREATE, struct.pack("=5I", _HASH, key_bytes, value_bytes, most, _NO_PREALLOC))


def array_map(value_bytes: int) -> int:
    """A map of one value, under the number 0, at first zeros. Raises OSError."""
    return _bpf(_MAP_CREATE, struct.pack("=5I", _ARRAY, 4, value_bytes, 1, 0))


def put(descriptor: int, key: bytes, value: bytes) -> None:
    """Set a value of a map. Raises OSError, E2BIG for a map that is full."""
    with_key = ctypes.create_string_buffer(key, len(key))
    with_value = ctypes.create_string_buffer(value, len(value))
    where = ctypes.addressof(with_key), ctypes.addressof(with_value)
    _bpf(_MAP_UPDATE, struct.pack("=IxxxxQQQ", descriptor, *where, 0))


def drop(descriptor: int, key: bytes) -> None:
    """Take a key out of a map, where it is there. Raises OSError."""
    with_key = ctypes.create_string_buffer(key, len(key))
    try:
        _bpf(_MAP_DELETE, struct.pack("=IxxxxQ", descriptor, ctypes.addressof(with_key)))
    except FileNotFoundError:
        return


def load(program: bytes, name: str) -> int:
    """Have the kernel check and take a program for frames. Raises OSError, EACCES for one that it refuses."""
    code = ctypes.create_string_buffer(program, len(program))
    license_ = ctypes.create_string_buffer(_LICENSE)
    where = ctypes.addressof(code), ctypes.addressof(license_)
    count, no_log = len(program) // 8, (0, 0, 0)
    fields = (_SCHED_CLS, count, *where, *no_log, 0, 0, name.encode("ascii"))
    return _bpf(_PROG_LOAD, struct.pack("=IIQQIIQII16s", *fields))


def attach(program: int, index: int) -> int:
    """Have a program see each frame that comes in on a link, behind those that are there already.

    Raises OSError: EINVAL before Linux 6.6, ENODEV without such a link in this network namespace.
    """
    return _bpf(_LINK_CREATE, struct.pack("=IIIIIIQ", program, index, _TCX_INGRESS, 0, 0, 0, 0))


def _bpf(command: int, attributes: bytes) -> int:
    if _CALL is None:
        raise OSError(errno.ENOSYS, f"bpf(2) has no known number on {os.uname().machine}")
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES)
    found: int = _libc.syscall(_CALL, command, buffer, _ATTRIBUTES)
    if found < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))
    return found


_libc = ctypes.CDLL(None, use_errno=True)
