"""A model of what `seam.Kernel` promises: tables in memory that refuse as the real ones do.

It also watches the order of operations: an address that becomes local before its virtual servers and its
SNAT are there is a `violations` entry, and so is a wrong reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

from strictarp.netlink.conntrack import Flow
from strictarp.netlink.ipvs import Key, RealServer, RealServerState, Timeouts, VirtualServer
from strictarp.netlink.nftables import Chain
from strictarp.proxy.addresses import show
from strictarp.proxy.nftables import SETS
from strictarp.proxy.operations import (
    AddReal,
    AddServer,
    BindAddress,
    ChangeSets,
    Element,
    Operation,
    RemoveReal,
    RemoveServer,
    SetReal,
    SetServer,
    UnbindAddress,
)
from strictarp.proxy.seam import DEVICE, HeldServer, HostLinks, KernelRefused, KernelView, Place, Vanished

_SET = re.compile(r"^  set (\w+) \{.*?(?:elements = \{ (.*?) \}; )?\}$", re.MULTILINE)


class ModelKernel:
    """`refuse`: decides which operations fail, and why. `rules_fail`: nft refuses everything.

    `tracked`: connections that the kernel tracks, `flow_questions`: how often it was asked for them.
    `log`: operations carried out. `connections`: (virtual server, place) → connections, to be set by a test.
    """

    device = DEVICE

    def __init__(self) -> None:
        self.servers: dict[Key, tuple[VirtualServer, dict[Place, RealServer]]] = {}
        self.bound: set[bytes] = set()
        self.elements: set[Element] = set()
        self.rules = ""
        self.log: list[Operation] = []
        self.loads = 0
        self.violations: list[str] = []
        self.connections: dict[tuple[Key, Place], int] = {}
        self.refuse: Callable[[Operation], str | None] = lambda _: None
        self.rules_fail = False
        self.view_fails = False
        self._without_device = False
        self.tracked: list[Flow] = []
        self.flow_questions = 0

    def flush(self) -> None:
        """Somebody else deletes everything, the device too."""
        self.servers.clear()
        self.rules = ""
        self.elements.clear()
        self.lose_device()

    def lose_device(self) -> None:
        """Somebody else deletes kube-ipvs0."""
        self.bound.clear()
        self._without_device = True

    async def prepare(self, *, make: bool = True) -> None:
        """The device is made again."""
        self._without_device = False

    async def remove_device(self) -> None:
        self.bound.clear()

    async def apply(self, operations: Sequence[Operation]) -> list[str | None]:
        outcomes = []
        for operation in operations:
            reason = self.refuse(operation) or self._do(operation)
            if reason is None:
                self.log.append(operation)
            outcomes.append(reason)
        return outcomes

    def _do(self, operation: Operation) -> str | None:
        match operation:
            case SetServer(server) if server.key not in self.servers:
                return Vanished("no such virtual server")
            case AddServer(server) | SetServer(server):
                reals = self.servers[server.key][1] if server.key in self.servers else {}
                self.servers[server.key] = (server, reals)
            case RemoveServer(key):
                self.servers.pop(key, None)
            case AddReal(key, real) | SetReal(key, real):
                if key not in self.servers:
                    return Vanished("no such virtual server")
                self.servers[key][1][(real.address, real.port)] = real
            case RemoveReal(key, real):
                if key in self.servers:
                    self.servers[key][1].pop((real.address, real.port), None)
            case BindAddress() if self._without_device:
                return Vanished("the device is gone")
            case BindAddress(address):
                self._check_bind(address)
                self.bound.add(address)
            case UnbindAddress(address):
                self.bound.discard(address)
            case ChangeSets(add, remove):
                return self._change(add, remove)
        return None

    def _check_bind(self, address: bytes) -> None:
        text = show(address)
        if ("vips", text) not in self.elements:
            self.violations.append(f"{text} is local before nftables knows it")
        if not any(key[1] == address for key in self.servers):
            self.violations.append(f"{text} is local without a virtual server")

    def _change(self, add: Sequence[Element], remove: Sequence[Element]) -> str | None:
        if self.rules_fail:
            return "nft refused"
        if not self.rules:
            return Vanished("nft: no such table")
        if missing := [element for element in remove if element not in self.elements]:
            self.violations.append(f"deleted but not there: {missing}")
            return "nft refused: no such element"
        self.elements.difference_update(remove)
        self.elements.update(add)
        return None

    async def view(self) -> KernelView:
        if self.view_fails:
            raise KernelRefused("the dump was interrupted")
        held = {key: HeldServer(server, self._states(key)) for key, (server, _) in self.servers.items()}
        return KernelView(held, frozenset(self.bound))

    def _states(self, key: Key) -> dict[Place, RealServerState]:
        _, reals = self.servers.get(key, (None, {}))
        return {
            place: RealServerState(real, self.connections.get((key, place), 0), 0)
            for place, real in reals.items()
        }

    async def virtual_servers(self) -> Sequence[VirtualServer]:
        if self.view_fails:
            raise KernelRefused("the dump was interrupted")
        return [server for server, _ in self.servers.values()]

    async def addresses(self) -> frozenset[bytes]:
        return frozenset(self.bound)

    async def reals(self, key: Key) -> Mapping[Place, RealServerState]:
        return self._states(key)

    async def host_links(self) -> HostLinks:
        return HostLinks((), ())

    async def holds(self, key: Key) -> bool:
        return key in self.servers

    async def chains(self) -> list[Chain]:
        return []

    async def chain_rules(self, chain: Chain) -> list[tuple[int, str]]:
        return []

    async def rule_changes(self) -> AsyncIterator[None]:
        return
        yield

    async def flows(self, keys: Collection[Key]) -> list[Flow]:
        self.flow_questions += 1
        return list(self.tracked)

    async def end_flows(self, flows: Sequence[Flow]) -> int:
        self.tracked = [flow for flow in self.tracked if flow not in flows]
        return len(flows)

    async def forget_closed_connections(self, addresses: Collection[bytes]) -> frozenset[bytes]:
        return frozenset(key[1] for (key, _), count in self.connections.items() if count).intersection(
            addresses
        )

    async def load_rules(self, text: str) -> None:
        if self.rules_fail:
            raise KernelRefused("nft refused")
        self.loads += 1
        self.rules = _SET.sub("", text)
        self.elements = {
            (name, element.strip())
            for name, content in _SET.findall(text)
            for element in content.split(",")
            if element.strip()
        }

    async def list_rules(self, family: str, table: str, *, elements: bool = True) -> bytes:
        if not self.rules:
            return b""
        entries: list[dict[str, object]] = [{"chain": {"name": "all", "text": self.rules, "handle": 7}}]
        for name in SETS:
            concats = [{"concat": e.split(" . ")} for n, e in sorted(self.elements) if elements and n == name]
            entries.append({"set": {"name": name, "elem": concats}} if concats else {"set": {"name": name}})
        return json.dumps({"nftables": entries}).encode()

    async def set_timeouts(self, timeouts: Timeouts) -> None:
        del timeouts

    async def changes(self) -> AsyncIterator[None]:
        return
        yield

    def close(self) -> None:
        """Nothing to close."""
