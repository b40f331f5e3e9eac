"""The proxy's hands: the real implementation of `seam.Kernel`. Thin: it carries out and reports.

Made in the network namespace that it is to work in. The kernel loads ip_vs, the schedulers and dummy itself
when they are asked for (request_module), if the modules are installed.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from itertools import groupby

from strictarp.netlink import conntrack, genl, ipvs_encode, look, nft_maps, nftables
from strictarp.netlink.conntrack import Flow
from strictarp.netlink.ipvs import FAMILY_NAME, Key, RealServerState, Timeouts, VirtualServer
from strictarp.netlink.ipvs_parse import parse_dest, parse_service
from strictarp.netlink.messages import MalformedMessage, Message, Refusal
from strictarp.netlink.nft_maps import Filling
from strictarp.netlink.nftables import Chain
from strictarp.netlink.policy import NETLINK_NETFILTER
from strictarp.netlink.rtnl import (
    GROUP_IPV4_ADDRESS,
    GROUP_IPV6_ADDRESS,
    GROUP_LINK,
    SCOPE_GLOBAL,
    AddressEvent,
    LinkEvent,
    is_prefix_on_link,
)
from strictarp.netlink.rtnl_encode import encode_del_link, encode_new_link
from strictarp.netlink.rtnl_parse import parse_event
from strictarp.netlink.socket import (
    NETLINK_GENERIC,
    NETLINK_ROUTE,
    DumpInterrupted,
    Events,
    Netlink,
    Transport,
)
from strictarp.proxy import nft_apply
from strictarp.proxy.asking import needs_prefixes
from strictarp.proxy.flows import FEW
from strictarp.proxy.kernel_messages import (
    AddressOperation,
    IpvsOperation,
    address_message,
    address_outcome,
    follow_up,
    ipvs_message,
    ipvs_outcome,
)
from strictarp.proxy.operations import BindAddress, ChangeSets, Operation, UnbindAddress
from strictarp.proxy.seam import (
    DEVICE,
    HeldServer,
    HostLinks,
    IpvsMissing,
    KernelRefused,
    KernelView,
    Place,
    TableVanished,
    Vanished,
)

_GROUPS = (GROUP_LINK, GROUP_IPV4_ADDRESS, GROUP_IPV6_ADDRESS)


class LinuxKernel:
    """IPVS, addresses and nftables of one network namespace.

    `render`: a change of set elements as an nft script. `generic`, `route`: transports, for tests.
    `device_kind`: kind of link that kube-ipvs0 is made as. `device`: its name, where it is another.
    """

    def __init__(
        self,
        render: Callable[[ChangeSets], str],
        *,
        generic: Transport | None = None,
        route: Transport | None = None,
        device_kind: str = "dummy",
        device: str = DEVICE,
    ) -> None:
        self.device = device
        self._render = render
        self._device_kind = device_kind
        self._family = 0
        self._index = 0
        self._events = Events(NETLINK_ROUTE, _GROUPS)
        self._rule_events = Events(NETLINK_NETFILTER, (nftables.GROUP,))
        self._route = route or Netlink(NETLINK_ROUTE)
        self._generic = generic or Netlink(NETLINK_GENERIC)
        self._netfilter = Netlink(NETLINK_NETFILTER)
        self._maps = Netlink(NETLINK_NETFILTER)
        """Of its own: a long dump of tracked connections must not keep a hand-over waiting."""

    def close(self) -> None:
        """Let go of the sockets; everything programmed stays."""
        sockets = (self._generic, self._route, self._netfilter, self._maps, self._events, self._rule_events)
        for socket in sockets:
            socket.close()

    async def prepare(self, *, make: bool = True) -> None:
        """Make sure that IPVS and, with `make`, kube-ipvs0 are there. Raises KernelRefused, OSError."""
        try:
            self._family = (await genl.resolve(self._generic, FAMILY_NAME)).number
        except genl.FamilyMissing:
            raise IpvsMissing("IPVS is not in this kernel: load module ip_vs (modprobe ip_vs)") from None
        except (Refusal, MalformedMessage) as error:
            raise KernelRefused(f"looking for IPVS: {error}") from None
        self._index = await self._ensure_device() if make else await self._device_index()

    async def _device_index(self) -> int:
        """Index of kube-ipvs0, 0 without it."""
        try:
            found = await look.link(self._route, self.device)
        except (Refusal, MalformedMessage) as error:
            raise KernelRefused(f"looking for {self.device}: {error}") from None
        return found.index if found else 0

    async def remove_device(self) -> None:
        """Delete kube-ipvs0, if it is there. Raises KernelRefused, OSError."""
        index = await self._device_index()
        if not index:
            return
        (refusal,) = await self._route.request([encode_del_link(index)])
        if refusal is not None and refusal.errno != errno.ENODEV:
            raise KernelRefused(f"{self.device} cannot be deleted: {refusal}")

    async def _ensure_device(self) -> int:
        try:
            found = await look.link(self._route, self.device)
            if found is None:
                (refusal,) = await self._route.request([encode_new_link(self.device, self._device_kind)])
                if refusal is not None and refusal.errno == errno.EOPNOTSUPP:
                    raise KernelRefused(f"{self.device} cannot be made: load module {self._device_kind}")
                if refusal is not None and refusal.errno != errno.EEXIST:
                    raise KernelRefused(f"{self.device} cannot be made: {refusal}")
                found = await look.link(self._route, self.device)
        except (Refusal, MalformedMessage) as error:
            raise KernelRefused(f"looking for {self.device}: {error}") from None
        if found is None:
            raise KernelRefused(f"{self.device} is deleted by somebody as soon as it is made")
        return found.index

    async def apply(self, operations: Sequence[Operation]) -> list[str | None]:
        """Carry operations out in order; for each None, or why it was refused. Raises OSError."""
        outcomes: list[str | None] = []
        for _, run in groupby(operations, key=_hand):
            batch = list(run)
            ipvs: list[IpvsOperation] = []
            addresses: list[AddressOperation] = []
            for operation in batch:
                if isinstance(operation, ChangeSets):
                    outcomes.append(await self._change_sets(operation))
                elif isinstance(operation, BindAddress | UnbindAddress):
                    addresses.append(operation)
                else:
                    ipvs.append(operation)
            if ipvs:
                outcomes += await self._apply_ipvs(ipvs)
            if addresses:
                outcomes += await self._apply_addresses(addresses)
        return outcomes

    async def _apply_ipvs(self, operations: list[IpvsOperation]) -> list[str | None]:
        answers = await self._generic.request([ipvs_message(self._family, o) for o in operations])
        again = [
            (position, second)
            for position, (operation, answer) in enumerate(zip(operations, answers, strict=True))
            if (second := follow_up(operation, answer)) is not None
        ]
        outcomes = [ipvs_outcome(o, a) for o, a in zip(operations, answers, strict=True)]
        if again:
            seconds = await self._generic.request([ipvs_message(self._family, o) for _, o in again])
            for (position, operation), answer in zip(again, seconds, strict=True):
                outcomes[position] = ipvs_outcome(operation, answer)
        return outcomes

    async def _apply_addresses(self, operations: list[AddressOperation]) -> list[str | None]:
        answers = await self._route.request([address_message(self._index, o) for o in operations])
        return [address_outcome(o, a, self.device) for o, a in zip(operations, answers, strict=True)]

    async def _change_sets(self, operation: ChangeSets) -> str | None:
        try:
            await self.load_rules(self._render(operation))
        except TableVanished as vanished:
            return Vanished(str(vanished))
        except KernelRefused as refused:
            return str(refused)
        return None

    async def view(self) -> KernelView:
        """A full look. Raises KernelRefused, OSError."""
        servers = await self.virtual_servers()
        held = {server.key: HeldServer(server, await self.reals(server.key)) for server in servers}
        return KernelView(held, await self.addresses())

    async def virtual_servers(self) -> list[VirtualServer]:
        """All virtual servers, ours or not. Raises KernelRefused, OSError."""
        try:
            answers = await self._generic.dump(ipvs_encode.encode_dump_services(self._family))
            return [server for server in map(parse_service, answers) if server is not None]
        except (Refusal, DumpInterrupted, MalformedMessage) as error:
            raise KernelRefused(f"looking at the virtual servers: {error}") from None

    async def addresses(self) -> frozenset[bytes]:
        """The addresses of kube-ipvs0. Raises KernelRefused, OSError."""
        try:
            addresses = await look.addresses(self._route)
        except (Refusal, DumpInterrupted, MalformedMessage) as error:
            raise KernelRefused(f"looking at the addresses of {self.device}: {error}") from None
        return frozenset(
            address.address
            for address in addresses
            if address.index == self._index
            and address.scope == SCOPE_GLOBAL
            and address.prefix == 8 * len(address.address)
        )

    async def reals(self, key: Key) -> Mapping[Place, RealServerState]:
        """The real servers of one virtual server. Raises KernelRefused, OSError."""
        try:
            answers = await self._generic.dump(ipvs_encode.encode_dump_dests(self._family, key))
            states = [parse_dest(answer, len(key[1])) for answer in answers]
        except (Refusal, DumpInterrupted, MalformedMessage) as error:
            raise KernelRefused(f"looking at the real servers: {error}") from None
        return {(state.server.address, state.server.port): state for state in states}

    async def host_links(self) -> HostLinks:
        """Links and addresses now. Raises KernelRefused, OSError."""
        try:
            links, addresses = await look.links(self._route), await look.addresses(self._route)
            routes = await look.routes(self._route, 16) if needs_prefixes(links, addresses) else ()
        except (Refusal, DumpInterrupted, MalformedMessage) as error:
            raise KernelRefused(f"looking at links and addresses: {error}") from None
        return HostLinks(tuple(links), tuple(addresses), tuple(filter(is_prefix_on_link, routes)))

    async def holds(self, key: Key) -> bool:
        """Whether a virtual server is there. Raises KernelRefused, OSError."""
        try:
            await self._generic.query(ipvs_encode.encode_get_service(self._family, key))
        except Refusal as refusal:
            if refusal.errno == errno.ESRCH:
                return False
            raise KernelRefused(f"looking for a virtual server: {refusal}") from None
        except MalformedMessage as error:
            raise KernelRefused(f"looking for a virtual server: {error}") from None
        return True

    async def chains(self) -> list[Chain]:
        """All nftables chains. Raises KernelRefused, OSError."""
        try:
            return [
                nftables.parse_chain(m) for m in await self._netfilter.dump(nftables.encode_dump_chains())
            ]
        except (Refusal, DumpInterrupted, MalformedMessage) as error:
            raise KernelRefused(f"looking at nftables chains: {error}") from None

    async def chain_rules(self, chain: Chain) -> list[tuple[int, str]]:
        """Handle and comment of each rule of a chain. Raises KernelRefused, OSError."""
        try:
            answers = await self._netfilter.dump(nftables.encode_dump_rules(chain))
            return [nftables.parse_rule(message) for message in answers]
        except (Refusal, DumpInterrupted, MalformedMessage) as error:
            raise KernelRefused(f"looking at nftables chain {chain.table} {chain.name}: {error}") from None

    async def rule_changes(self) -> AsyncIterator[None]:
        """Yields after tables, chains or rules of nftables changed, whoever did it. Raises OSError."""
        while True:
            batch = await self._rule_events.wait()
            if any(message is None or nftables.is_structure(message) for message in batch):
                yield None

    async def flows(self, keys: Collection[Key]) -> list[Flow]:
        """Tracked UDP connections to virtual servers; to all for many. Raises KernelRefused, OSError."""
        asked: list[tuple[int, tuple[bytes, int] | None]] = [
            (len(address), (address, port)) for _, address, port in keys
        ]
        if len(asked) > FEW:
            asked = [(width, None) for width in sorted({width for width, _ in asked})]
        try:
            answers = [
                message
                for width, place in asked
                for message in await self._netfilter.dump(conntrack.encode_dump_flows(width, place))
            ]
            return [flow for flow in map(conntrack.parse_flow, answers) if flow is not None]
        except (Refusal, DumpInterrupted, MalformedMessage) as error:
            raise KernelRefused(f"looking at tracked connections: {error}") from None

    async def end_flows(self, flows: Sequence[Flow]) -> int:
        """Forget tracked connections; how many there were. Raises KernelRefused, OSError."""
        answers = await self._netfilter.request([conntrack.encode_delete_flow(flow) for flow in flows])
        refused = [answer for answer in answers if answer is not None and answer.errno != errno.ENOENT]
        if refused:
            raise KernelRefused(f"tracked connections cannot be deleted: {refused[0]}")
        return answers.count(None)

    async def forget_closed_connections(self, addresses: Collection[bytes]) -> frozenset[bytes]:
        """Forget tracked TCP connections to these addresses that are over; the addresses of open ones.

        A packet of another connection from the same port would be taken for theirs. Raises KernelRefused,
        OSError.
        """
        # One dump for all of IPv6: the kernel's filter cannot tell its addresses.
        asked = {address if len(address) == 4 else b"": address for address in addresses}
        opened: set[bytes] = set()
        closed: list[Flow] = []
        try:
            for address in asked.values():
                for message in await self._netfilter.dump(conntrack.encode_dump_tcp(address)):
                    flow = conntrack.parse_flow(message)
                    if flow is None or flow.original.destination not in addresses:
                        continue
                    if flow.tcp_state in conntrack.OPEN_TCP:
                        opened.add(flow.original.destination)
                    elif flow.tcp_state in conntrack.CLOSED_TCP:
                        closed.append(flow)
        except (Refusal, DumpInterrupted, MalformedMessage) as error:
            raise KernelRefused(f"looking at tracked connections: {error}") from None
        await self.end_flows(closed)
        return frozenset(opened)

    async def load_rules(self, text: str) -> None:
        """Run one nftables script as one transaction. Raises KernelRefused."""
        await nft_apply.run_script(text)

    async def fill_maps(self, fillings: Sequence[Filling]) -> None:
        """Make maps of nftables hold just this, all in one transaction, without a process.

        Raises TableVanished when one is not there, KernelRefused, OSError.
        """
        messages = [message for each in fillings for message in nft_maps.encode_fill(each)]
        if not messages:
            return
        begin, end = nft_maps.encode_begin(), nft_maps.encode_end()
        try:
            refusal = await self._maps.transaction([begin, *messages], end)
        except MalformedMessage as error:
            raise KernelRefused(f"filling nftables maps: {error}") from None
        if refusal is not None:
            names = ", ".join(f"{each.table} {each.name}" for each in fillings)
            kind = TableVanished if refusal.errno == errno.ENOENT else KernelRefused
            raise kind(f"nftables maps {names}: {refusal}")

    async def list_rules(self, family: str, table: str, *, elements: bool = True) -> bytes:
        """A table as nft's JSON; empty when there is none. Raises KernelRefused."""
        return await nft_apply.list_table(family, table, elements=elements)

    async def set_timeouts(self, timeouts: Timeouts) -> None:
        """Set IPVS's connection timeouts. Raises KernelRefused, OSError."""
        (refusal,) = await self._generic.request([ipvs_encode.encode_set_config(self._family, timeouts)])
        if refusal is not None:
            raise KernelRefused(f"timeouts {timeouts}: {refusal}")

    async def changes(self) -> AsyncIterator[None]:
        """Yields after links or addresses changed elsewhere than on kube-ipvs0. Raises OSError."""
        while True:
            batch = await self._events.wait()
            if any(self._matters(message) for message in batch):
                yield None

    def _matters(self, message: Message | None) -> bool:
        if message is None:
            return True
        try:
            event = parse_event(message)
        except MalformedMessage:
            return True
        if isinstance(event, AddressEvent):
            return event.address.index != self._index
        return isinstance(event, LinkEvent)


def _hand(operation: Operation) -> int:
    """Operations of one hand may go out together without changing their order."""
    if isinstance(operation, ChangeSets):
        return 0
    return 1 if isinstance(operation, BindAddress | UnbindAddress) else 2
