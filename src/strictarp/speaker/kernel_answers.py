"""Answers by ARP that the kernel gives on one link for this process, within its lease. Thin.

What the program does is in `strictarp.arp.answering`. It goes on while this process is stopped, so it may
do only what holds then: for addresses that the last hello listed, until the lease that began with it ends.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from strictarp.arp import answering, bpfsys
from strictarp.errors import UserError

log = logging.getLogger(__name__)

MOST_ADDRESSES = 65_536
"""What is owned beyond, the process answers for."""
_LEASE_KEY = bytes(4)
_LOOPBACK = 1
"""Index of `lo` in every network namespace (net/core/dev.c LOOPBACK_IFINDEX)."""
_OFFSETS = Path("/proc/self/timens_offsets")
_ANY_MAC = b"\x02\0\0\0\0\0"


class Who(enum.StrEnum):
    """Who answers questions by ARP, as the command line says it."""

    AUTO = "auto"
    KERNEL = "kernel"
    PROCESS = "process"


class KernelAnswers:
    """The program on one link, and its maps, from `open` to `close`; before and after, it does nothing.

    An address is answered for from the first hello that is sent after `own` until `disown`, and never
    longer than `lease` µs after a hello, of CLOCK_BOOTTIME. Whatever the kernel refuses meanwhile ends it
    all: `broken`.
    """

    def __init__(self, lease: int) -> None:
        self.broken = False
        self._lease = lease
        self._descriptors: list[int] = []
        """Map of addresses, map of the lease, program, and its place at the link."""
        self._untold: set[bytes] = set()
        self._answered: set[bytes] = set()

    @property
    def active(self) -> bool:
        """Whether the program sees the link's frames."""
        return bool(self._descriptors)

    def open(self, index: int, mac: bytes, owned: Iterable[bytes]) -> None:
        """Begin on a link of this network namespace. owned: as if `own` had been called for each.

        Raises OSError, see `strictarp.arp.bpfsys`.
        """
        self.close()
        made: list[int] = []
        try:
            made.append(bpfsys.hash_map(answering.ADDRESS_LENGTH, 1, MOST_ADDRESSES))
            made.append(bpfsys.array_map(len(answering.NEVER)))
            code = answering.program(mac, addresses=made[0], lease=made[1])
            made.append(bpfsys.load(code, "strictarp_arp"))
            made.append(bpfsys.attach(made[2], index))
        except OSError:
            _close(made)
            raise
        self._descriptors = made
        for address in owned:
            self.own(address)

    def close(self) -> None:
        """Answer nothing more."""
        _close(self._descriptors)
        self._descriptors = []
        self.broken = False
        self._untold.clear()
        self._answered.clear()

    def own(self, address: bytes) -> None:
        """Answer for an address once a hello has told that it is owned."""
        if self.active and answering.may_hold(address):
            self._untold.add(address)

    def disown(self, address: bytes) -> None:
        """Answer for it no more; to be called before anybody is told."""
        self._untold.discard(address)
        if address not in self._answered:
            return
        self._answered.discard(address)
        try:
            bpfsys.drop(self._descriptors[0], address)
        except OSError as error:
            self._give_up(error)

    def said(self, at: int) -> None:
        """A hello has been sent, composed at this time, that lists all that is owned. at: in µs."""
        self._set_lease(answering.lease_value(at + self._lease))
        while self._untold and self.active:
            address = self._untold.pop()
            with contextlib.suppress(OSError):  # full, or no memory: the process answers for this one
                bpfsys.put(self._descriptors[0], address, b"\0")
                self._answered.add(address)

    def cut(self) -> None:
        """Answer nothing until the next hello."""
        self._set_lease(answering.NEVER)

    def _set_lease(self, value: bytes) -> None:
        if not self.active:
            return
        try:
            bpfsys.put(self._descriptors[1], _LEASE_KEY, value)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.close()
        self.broken = True
        log.warning("the kernel answers no more", extra={"fields": {"reason": str(error)}})


def _close(descriptors: list[int]) -> None:
    """The place at the link first: no frame meets a program without its maps."""
    for each in reversed(descriptors):
        os.close(each)


def usable(who: Who) -> bool:
    """Whether the kernel is to answer, here; tried at the loopback device of this network namespace.

    Raises UserError where it is to and cannot. Where it may and cannot, the log says why.
    """
    if who is Who.PROCESS:
        return False
    reason = _missing()
    if reason and who is Who.KERNEL:
        raise UserError(f"--answer kernel: {reason}; with --answer auto the process answers instead")
    if reason:
        log.info("this process answers ARP itself, not the kernel", extra={"fields": {"reason": reason}})
    return not reason


def _missing() -> str:
    """Why the kernel cannot answer; empty if it can."""
    if _clock_is_offset():
        return "this process is in a time namespace whose boot time is not the kernel's"
    trial = KernelAnswers(0)
    try:
        trial.open(_LOOPBACK, _ANY_MAC, ())
    except OSError as error:
        return _WHY.get(error.errno or 0, f"bpf(2): {error}")
    trial.close()
    return ""


_WHY = {
    errno.EPERM: "it needs the capabilities BPF and NET_ADMIN",
    errno.EINVAL: "it needs Linux 6.6 or later (TCX)",
}


def _clock_is_offset() -> bool:
    """Whether our CLOCK_BOOTTIME differs from the kernel's own, which the program sees
    (time_namespaces(7)).
    """
    try:
        lines = _OFFSETS.read_text(encoding="ascii").splitlines()
    except OSError:
        return False  # no time namespaces
    return any(line.split() != ["boottime", "0", "0"] for line in lines if line.startswith("boottime"))
