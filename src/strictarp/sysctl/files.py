"""Reading and writing sysctls as files below /proc/sys. Thin.

`/proc/sys/net` shows the network namespace of the *thread that opens the file*, whenever /proc was mounted
(net_ctl_header_lookup in net/sysctl_net.c takes current's). Work handed to a thread pool sees the namespace
that the pool's thread is in.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

PROC_SYS = Path("/proc/sys")
READ_ONLY = errno.EROFS


class SysctlError(Exception):
    """A sysctl that could not be read or written; the message names it. `name` is its dotted name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"sysctl {name}: {reason}")
        self.name = name


class Missing(SysctlError):
    """There is no such key: the interface is gone, or the module that brings the key is not loaded."""


class NotWritable(SysctlError):
    """Permission or a read-only /proc/sys stands in the way."""


class ReadOnly(NotWritable):
    """/proc/sys is mounted read-only, as in containers that are not privileged."""


class BadValue(SysctlError):
    """The kernel refused the value, or the file holds no number."""


class BadName(SysctlError):
    """Not the name of a sysctl."""


def relative_path(name: str) -> str:
    """The path below /proc/sys of a sysctl's name. Pure; raises BadName.

    As sysctl(8): `net.ipv4.conf.eth0/100.arp_ignore` and `net/ipv4/conf/eth0.100/arp_ignore` both name the
    key of interface eth0.100: the separator that comes first separates, the other stands for itself.
    """
    dot, slash = name.find("."), name.find("/")
    dotted = dot >= 0 and (slash < 0 or dot < slash)
    name_path = name.translate(str.maketrans("./", "/.")) if dotted else name
    parts = name_path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise BadName(name, "not a name of dotted parts")
    return name_path


def conf(interface: str, key: str, *, family: str = "ipv4") -> str:
    """The dotted name of a key of an interface (or `all`, `default`). Raises BadName.

    An interface's name may hold dots, which are written as slashes here; it never holds a slash
    (dev_valid_name in net/core/dev.c).
    """
    if not interface or "/" in interface or interface in (".", ".."):
        raise BadName(f"net.{family}.conf.{interface}.{key}", "not the name of an interface")
    return f"net.{family}.conf.{interface.replace('.', '/')}.{key}"


def read(name: str, *, root: Path = PROC_SYS) -> str:
    """The value without the line's end. Raises Missing, BadName, SysctlError."""
    try:
        return (root / relative_path(name)).read_text().rstrip("\n")
    except OSError as error:
        raise explained(name, error) from None


def read_int(name: str, *, root: Path = PROC_SYS) -> int:
    """The value as a number. Raises BadValue besides what `read` raises."""
    value = read(name, root=root)
    try:
        return int(value)
    except ValueError:
        raise BadValue(name, f"holds {value!r} where a number is expected") from None


def write(name: str, value: int | str, *, root: Path = PROC_SYS) -> None:
    """Write a value. Raises Missing, NotWritable, BadValue, BadName, SysctlError."""
    try:
        with (root / relative_path(name)).open("r+b", buffering=0) as file:
            file.write(f"{value}\n".encode())
    except OSError as error:
        raise explained(name, error, value) from None


def ensure(name: str, value: int, *, root: Path = PROC_SYS) -> int | None:
    """Write only what differs; the value before, None if nothing was written. Raises as read and write.

    A value that is right already needs no permission: it works with a read-only /proc/sys.
    """
    before = read_int(name, root=root)
    if before == value:
        return None
    write(name, value, root=root)
    return before


def snapshot(
    interfaces: Iterable[str], keys: Iterable[str], *, family: str = "ipv4", root: Path = PROC_SYS
) -> Mapping[str, Mapping[str, int]]:
    """interface → key → value. An interface that is gone and a key that this kernel lacks are left out.

    Raises SysctlError (except Missing).
    """
    wanted = list(keys)
    seen: dict[str, dict[str, int]] = {}
    for interface in interfaces:
        values: dict[str, int] = {}
        for key in wanted:
            try:
                values[key] = read_int(conf(interface, key, family=family), root=root)
            except Missing:
                continue
        if values:
            seen[interface] = values
    return seen


def explained(name: str, error: OSError, value: int | str | None = None) -> SysctlError:
    """The error of a sysctl that this error of its file means."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Missing(name, "does not exist here (interface gone, or module not loaded)")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBADF):
        kind = ReadOnly if error.errno == READ_ONLY else NotWritable
        return kind(name, f"{error.strerror}; root and a writable /proc/sys are needed")
    if error.errno in (errno.EINVAL, errno.ERANGE):
        return BadValue(name, f"the kernel refuses {value!r}")
    return SysctlError(name, str(error.strerror))


def kernel_version(*, root: Path = PROC_SYS) -> tuple[int, int]:
    """Major and minor number of the running kernel. Raises SysctlError."""
    release = read("kernel.osrelease", root=root)
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None:
        raise BadValue("kernel.osrelease", f"holds {release!r} where a version is expected")
    return int(found[1]), int(found[2])
