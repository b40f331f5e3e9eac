"""The kernel of a node as the proxy's own code speaks to it, with faults: a model, or the real one.

Everything above the transports is the daemon's code. Below are models that refuse as the kernel does, or in
the virtual machine the kernel. A process may be killed before any message, a message may be refused, and an
answer may be lost after the work was done.
"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Sequence
from typing import Protocol

from strictarp.netlink.messages import Message, Refusal
from strictarp.netlink.policy import NETLINK_NETFILTER
from strictarp.netlink.socket import NETLINK_GENERIC, NETLINK_ROUTE, Netlink, Transport
from strictarp.proxy import nft_apply, nftables
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.seam import DEVICE, KernelRefused, KernelView
from support.fake_ipvs import FakeIpvs
from support.fake_nft import FakeNft
from support.fake_route import FakeRoute


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Nft(Protocol):
    """`nft -f -` and `nft -j list table`; raise KernelRefused and TableVanished."""

    async def run(self, text: str) -> None:
        """Run a script as one transaction."""

    async def list(self, family: str, table: str) -> bytes:
        """A table as JSON."""


class RealNft:
    """nft of this machine."""

    async def run(self, text: str) -> None:
        await nft_apply.run_script(text)

    async def list(self, family: str, table: str) -> bytes:
        return await nft_apply.list_table(family, table)


class Faults:
    """What goes wrong. `left`: messages and scripts until the process dies; None: it lives.

    `refusals`: a number of error for each of the next changes, 0 for 'as usual', negative: it is carried out
    and its answer is lost. `blind`: so many of the next questions are refused. `changes`: messages and
    scripts that were to change something.
    """

    def __init__(self) -> None:
        self.left: int | None = None
        self.refusals: list[int] = []
        self.blind = 0
        self.changes = 0

    def clear(self) -> None:
        self.left = None
        self.refusals = []
        self.blind = 0

    def count(self) -> None:
        """Something is about to be sent. Raises Killed."""
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1

    def question(self) -> bool:
        """Something is about to be asked; whether it is refused. Raises Killed."""
        self.count()
        refused = self.blind > 0
        self.blind -= refused
        return refused

    def refusal(self) -> int:
        self.changes += 1
        return self.refusals.pop(0) if self.refusals else 0


class Faulty:
    """A transport with faults in front."""

    def __init__(self, inner: Transport, faults: Faults) -> None:
        self.inner = inner
        self._faults = faults

    def close(self) -> None:
        self.inner.close()

    async def request(self, messages: Sequence[bytes]) -> list[Refusal | None]:
        faults = self._faults
        if faults.left is None and not faults.refusals:
            faults.changes += len(messages)
            return await self.inner.request(messages)
        answers: list[Refusal | None] = []
        for message in messages:
            faults.count()
            number = faults.refusal()
            if number > 0:
                answers.append(Refusal(number))
                continue
            answers += await self.inner.request([message])
            if number < 0:
                raise OSError(-number, "the answer was lost")
        return answers

    async def query(self, message: bytes) -> list[Message]:
        if self._faults.question():
            raise Refusal(errno.ENOBUFS)
        return await self.inner.query(message)

    async def dump(self, message: bytes) -> list[Message]:
        if self._faults.question():
            raise Refusal(errno.ENOBUFS)
        return await self.inner.dump(message)


class NoFlows:
    """Connection tracking that has nothing."""

    async def request(self, messages: Sequence[bytes]) -> list[Refusal | None]:
        return [Refusal(errno.ENOENT) for _ in messages]

    async def query(self, message: bytes) -> list[Message]:
        raise Refusal(errno.ENOENT)

    async def dump(self, message: bytes) -> list[Message]:
        return []

    def close(self) -> None:
        """Nothing to close."""


class Machine:
    """IPVS, links and addresses, and nft, with faults; and the proxy's hands on them.

    `device_kind`: the kind of link that kube-ipvs0 is made as.
    """

    def __init__(
        self, ipvs: Transport, route: Transport, netfilter: Transport, nft: Nft, device_kind: str = "dummy"
    ) -> None:
        self.faults = Faults()
        self.device_kind = device_kind
        self.nft = nft
        self.ipvs, self.route, self.netfilter = ipvs, route, netfilter

    def hands(self) -> Hands:
        """Those of a new process."""
        return Hands(self, self.faults)

    def close(self) -> None:
        for transport in (self.ipvs, self.route, self.netfilter):
            transport.close()


class ModelMachine(Machine):
    """All of it models."""

    def __init__(self) -> None:
        self.table = FakeIpvs()
        self.links = FakeRoute()
        self.rules = FakeNft()
        super().__init__(self.table, self.links, NoFlows(), self.rules)


def load_modules() -> None:
    """What the proxy needs of the kernel."""
    wanted = ("ip_vs", "ip_vs_rr", "dummy", "nf_tables", "nft_masq", "nft_chain_nat", "nf_conntrack_netlink")
    subprocess.run(["modprobe", "-a", *wanted], check=False)


def half_real_machine(nft: Nft) -> Machine:
    """As `real_machine`, but for IPVS and its device, which the running kernel may lack."""
    return Machine(FakeIpvs(), Netlink(NETLINK_ROUTE), NoFlows(), nft, "bridge")


def real_machine(nft: Nft) -> Machine:
    """The kernel, in the network namespace of the caller."""
    sockets = (Netlink(number) for number in (NETLINK_GENERIC, NETLINK_ROUTE, NETLINK_NETFILTER))
    return Machine(*sockets, nft)


class Hands(LinuxKernel):
    """The daemon's hands, but for the sockets of events: those need a kernel and privileges.

    `looks`: full looks at IPVS and addresses so far.
    """

    def __init__(self, machine: Machine, faults: Faults) -> None:
        self.device = DEVICE
        self._render = nftables.change_elements
        self._device_kind = machine.device_kind
        self._family = 0
        self._index = 0
        self._generic = Faulty(machine.ipvs, faults)
        self._route = Faulty(machine.route, faults)
        self._netfilter = machine.netfilter  # type: ignore[assignment]
        self._nft = machine.nft
        self._faults = faults
        self.looks = 0

    async def view(self) -> KernelView:
        seen = await super().view()
        self.looks += 1
        return seen

    async def load_rules(self, text: str) -> None:
        self._faults.count()
        number = self._faults.refusal()
        if number > 0:
            raise KernelRefused(f"nft refused the rules: error {number}")
        await self._nft.run(text)
        if number < 0:
            raise KernelRefused("nft did not finish in time")

    async def list_rules(self, family: str, table: str, *, elements: bool = True) -> bytes:
        del elements  # all of them are listed: who does not ask for them does not read them
        if self._faults.question():
            raise KernelRefused("nft cannot list the table: No buffer space available")
        return await self._nft.list(family, table)
