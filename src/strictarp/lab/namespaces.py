"""Network namespaces held by file descriptors.

They have no name in the file system and are gone with the last process that holds or sits in them, so that
nothing is left behind after a crash.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence

import msgspec

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_IFREQ_FLAGS = struct.Struct("=16sH22x")
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace(msgspec.Struct, frozen=True):
    """A network namespace: a name for people and the descriptor that keeps it alive."""

    name: str
    fd: int

    @property
    def path(self) -> str:
        """Path that `ip link ... netns PATH` takes, for as long as this process lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Let go of it; it ends when no process is left in it."""
        os.close(self.fd)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def current(name: str = "current") -> Namespace:
    """The namespace that the calling thread is in."""
    return Namespace(name, os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))


def enter(namespace: Namespace) -> None:
    """Move the calling thread there for good (setns(2)). Raises OSError."""
    _check(_libc.setns(namespace.fd, _CLONE_NEWNET), f"cannot enter network namespace {namespace.name}")


@contextlib.contextmanager
def entered(namespace: Namespace) -> Iterator[None]:
    """Inside the block the calling thread is in `namespace`; sockets made there stay there."""
    home = current("home")
    try:
        enter(namespace)
        yield
    finally:
        enter(home)
        home.close()


def create(name: str) -> Namespace:
    """Make a namespace with `lo` up. Raises OSError without CAP_SYS_ADMIN."""
    home = current("home")
    try:
        _check(_libc.unshare(_CLONE_NEWNET), f"cannot make network namespace {name}")
        made = current(name)
    finally:
        enter(home)
        home.close()
    set_links(made, "lo", up=True)
    return made


def run(namespace: Namespace, argv: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program inside and return what it printed.

    Raises CalledProcessError when `check` and it fails.
    """
    with entered(namespace):
        return subprocess.run(argv, check=check, capture_output=True, text=True)


def ip(namespace: Namespace, *lines: str) -> None:
    """Run lines of iproute2 commands, without the leading `ip`, in one process inside.

    Raises RuntimeError with iproute2's message on the first line that fails.
    """
    with entered(namespace):
        done = subprocess.run(
            ["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, capture_output=True, check=False
        )
    if done.returncode != 0:
        raise RuntimeError(f"{namespace.name}: ip: {done.stderr.strip()} in {lines!r}")


def set_links(namespace: Namespace, *links: str, up: bool) -> None:
    """Take links up or down at this very moment: no process is started. Raises OSError (netdevice(7))."""
    with entered(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for name in links:
            request = _IFREQ_FLAGS.pack(name.encode(), 0)
            _, flags = _IFREQ_FLAGS.unpack(fcntl.ioctl(control, _SIOCGIFFLAGS, request))
            flags = flags | _IFF_UP if up else flags & ~_IFF_UP
            fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ_FLAGS.pack(name.encode(), flags))


def veth(
    end_a: tuple[Namespace, str], end_b: tuple[Namespace, str], *, mac_a: str = "", mac_b: str = ""
) -> None:
    """A cable between two namespaces; both ends are brought up. MACs empty: the kernel's choice."""
    (ns_a, name_a), (ns_b, name_b) = end_a, end_b
    address_a = f" address {mac_a}" if mac_a else ""
    address_b = f" address {mac_b}" if mac_b else ""
    ip(
        ns_a,
        f"link add {name_a}{address_a} type veth peer name {name_b}{address_b} netns {ns_b.path}",
        f"link set {name_a} up",
    )
    set_links(ns_b, name_b, up=True)
