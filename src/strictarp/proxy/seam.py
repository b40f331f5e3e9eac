"""What the proxy needs of the kernel: a protocol with one real implementation (`kernel.py`) and one model.

Everything is in the network namespace of the process. Nothing here decides what should be programmed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from strictarp.netlink.conntrack import Flow
from strictarp.netlink.ipvs import Key, RealServerState, Timeouts, VirtualServer
from strictarp.netlink.nft_maps import Filling
from strictarp.netlink.nftables import Chain
from strictarp.netlink.rtnl import Address, Link, Route
from strictarp.proxy.operations import Operation

DEVICE = "kube-ipvs0"
"""The dummy device that VIPs are bound on, unless the settings name another; CNIs tell IPVS mode by it."""

Place: TypeAlias = tuple[bytes, int]
"""Address and port of a real server."""


class KernelRefused(Exception):
    """The kernel, or nft, would not do something; the message says what and, if known, how to mend it."""


class IpvsMissing(KernelRefused):
    """There is no IPVS in this kernel, and so no virtual server either."""


class TableVanished(KernelRefused):
    """A table, set or element that was to be changed is not there."""


class SchedulerMissing(str):
    """Why a virtual server was refused: its scheduler is not in this kernel."""


class Vanished(str):
    """Why something was refused: what it stands on, and the mirror holds, is not in the kernel any more."""


class Impossible(str):
    """Why something was refused for what it says itself: no repetition helps, only another object."""


class HeldServer(msgspec.Struct, frozen=True):
    """A virtual server as the kernel holds it, with its real servers."""

    server: VirtualServer
    reals: Mapping[Place, RealServerState]


class KernelView(msgspec.Struct, frozen=True):
    """One full look: all virtual servers of the namespace, ours or not, and the addresses of kube-ipvs0."""

    servers: Mapping[Key, HeldServer]
    bound: frozenset[bytes]


class HostLinks(msgspec.Struct, frozen=True):
    """All links and addresses of the namespace, kube-ipvs0 and lo among them.

    on_link: routes to IPv6 prefixes that routers call on-link; none where no address has a prefix of 128.
    """

    links: tuple[Link, ...]
    addresses: tuple[Address, ...]
    on_link: tuple[Route, ...] = ()


class Kernel(Protocol):
    """See the module. Methods raise KernelRefused, and OSError when a socket breaks.

    device: name of the device that VIPs are bound on; kube-ipvs0 stands for it below.
    """

    device: str

    async def prepare(self, *, make: bool = True) -> None:
        """Make sure that IPVS is there (its module may load) and that kube-ipvs0 exists, DOWN and NOARP.

        KernelRefused tells which module is missing. Called again after kube-ipvs0 was seen to be gone.
        Without `make` a kube-ipvs0 that is missing stays so.
        """

    async def remove_device(self) -> None:
        """Delete kube-ipvs0, if it is there, with all its addresses."""

    async def apply(self, operations: Sequence[Operation]) -> list[str | None]:
        """Carry operations out in order; for each None, or why it was refused, for people.

        EEXIST on adding and ESRCH, ENOENT, EADDRNOTAVAIL on removing count as done. What somebody else has
        deleted is not made again piecemeal: the outcome is Vanished. A refused operation does not stop those
        after it. Runs of netlink operations go out in batches; ChangeSets is one nft process.
        """

    async def view(self) -> KernelView:
        """A full look."""

    async def virtual_servers(self) -> Sequence[VirtualServer]:
        """All virtual servers of the namespace, ours or not."""

    async def addresses(self) -> frozenset[bytes]:
        """The addresses of kube-ipvs0."""

    async def reals(self, key: Key) -> Mapping[Place, RealServerState]:
        """The real servers of one virtual server with their connections; empty when it does not exist."""

    async def host_links(self) -> HostLinks:
        """Links and addresses now."""

    async def holds(self, key: Key) -> bool:
        """Whether a virtual server is there: one message, however many there are."""

    async def chains(self) -> Sequence[Chain]:
        """All nftables chains, ours or not."""

    async def chain_rules(self, chain: Chain) -> Sequence[tuple[int, str]]:
        """Handle and comment of each rule of a chain."""

    def rule_changes(self) -> AsyncIterator[None]:
        """Yields after tables, chains or rules of nftables changed, or events were lost. Coalesced."""

    async def flows(self, keys: Collection[Key]) -> Sequence[Flow]:
        """Tracked UDP connections to these virtual servers, and perhaps others; many keys: to all of them."""

    async def end_flows(self, flows: Sequence[Flow]) -> int:
        """Forget tracked connections; how many were still there."""

    async def forget_closed_connections(self, addresses: Collection[bytes]) -> frozenset[bytes]:
        """Forget tracked TCP connections to these addresses that are over; those of the addresses that have
        some which may still carry something.
        """

    async def load_rules(self, text: str) -> None:
        """Run one nftables script as one transaction (`nft -f -`)."""

    async def fill_maps(self, fillings: Sequence[Filling]) -> None:
        """Make maps of nftables hold just this, all in one transaction, without a process.

        Raises TableVanished when one is not there.
        """

    async def list_rules(self, family: str, table: str, *, elements: bool = True) -> bytes:
        """A table as nft's JSON (`nft -j list table`); empty when there is none. elements: of sets too."""

    async def set_timeouts(self, timeouts: Timeouts) -> None:
        """Set the connection timeouts of IPVS."""

    def changes(self) -> AsyncIterator[None]:
        """Yields after links or addresses changed (also when events were lost): look again. Coalesced.

        Binding and unbinding on kube-ipvs0 itself yields nothing.
        """

    def close(self) -> None:
        """Let go of the sockets; everything programmed stays."""
