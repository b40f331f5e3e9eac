"""The kernel or nft refuses a part: the rest is served, it is tried again with back-off, and health tells."""

import errno
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest

from strictarp.kube.objects import ENDPOINTSLICES, SERVICES
from strictarp.proxy.health import Health
from strictarp.proxy.operations import AddServer, Operation, describe_operation
from strictarp.proxy.seam import KernelView
from strictarp.proxy.sync import FIRST_RETRY, LONGEST_RETRY
from support.daemon_node import Node as Daemon
from support.daemon_node import build
from support.model_kernel import ModelKernel
from support.proxy_objects import endpoint_slice, service, service_body, slice_body
from support.syncing import Node, planned, programmed


class Failing(ModelKernel):
    """`broken`: which call fails as a socket does, and after how many operations of it."""

    broken: tuple[str, int] | None = None

    def _break(self, what: str) -> None:
        if self.broken and self.broken[0] == what:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    async def apply(self, operations: Sequence[Operation]) -> list[str | None]:
        if self.broken and self.broken[0] == "apply":
            await super().apply(operations[: self.broken[1]])
            self._break("apply")
        return await super().apply(operations)

    async def view(self) -> KernelView:
        self._break("view")
        return await super().view()

    async def prepare(self, *, make: bool = True) -> None:
        self._break("prepare")
        await super().prepare(make=make)


def _objects() -> list[object]:
    return [
        each
        for number in range(3)
        for each in (
            service(f"s{number}", f"203.0.113.{10 + number}", type="NodePort"),
            endpoint_slice(f"s{number}", ["198.51.100.1", "198.51.100.2"]),
        )
    ]


@pytest.mark.parametrize(
    "broken", [("apply", 0), ("apply", 1), ("apply", 2), ("view", 0), ("prepare", 0)], ids=str
)
@pytest.mark.parametrize("started", [False, True])
async def test_a_socket_that_breaks_anywhere_leaves_nothing_half_done(
    broken: tuple[str, int], started: bool
) -> None:
    kernel = Failing()
    node = Node(kernel)
    first, *others = _objects()
    if started:
        node.put(first)
        await node.turn()
    kernel.broken = broken
    node.put(first, *others)  # type: ignore[arg-type]
    await node.turns(3, 61.0)
    assert kernel.violations == []
    assert "ENOBUFS" in node.syncer.failing or os.strerror(errno.ENOBUFS) in node.syncer.failing
    kernel.broken = None
    await node.turns(4, 61.0)
    assert programmed(kernel) == planned(node.services.values(), node.slices.values(), node.engine.facts)
    assert (kernel.violations, node.syncer.failing) == ([], "")


async def test_what_is_refused_is_tried_ever_more_rarely_and_others_are_served() -> None:
    kernel = ModelKernel()
    tried: list[float] = []

    def refuse(operation: Operation) -> str | None:
        if isinstance(operation, AddServer) and "203.0.113.10:80" in describe_operation(operation):
            tried.append(node.now)
            return "Cannot allocate memory (ENOMEM)"
        return None

    kernel.refuse = refuse
    node = Node(kernel, full_look=1e9)
    node.put(service("a", "203.0.113.10"), endpoint_slice("a", ["198.51.100.1"]))
    node.put(service("b", "203.0.113.11"), endpoint_slice("b", ["198.51.100.1"]))
    await node.turn()
    assert kernel.bound == {bytes([203, 0, 113, 11])}
    for _ in range(1500):
        await node.turn(0.1)
    waits = [round(later - earlier, 1) for earlier, later in itertools.pairwise(tried)]
    assert waits[:5] == pytest.approx([FIRST_RETRY * 2**n for n in range(5)], abs=0.11)
    assert waits[5:] == pytest.approx([LONGEST_RETRY] * len(waits[5:]), abs=0.11)
    kernel.refuse = lambda _: None
    await node.turn(LONGEST_RETRY)
    assert len(kernel.bound) == 2
    kernel.refuse = refuse
    node.put(service("c", "203.0.113.12"))
    node.delete("default/a")
    node.put(service("a", "203.0.113.10"))
    await node.turn()
    assert bytes([203, 0, 113, 12]) in kernel.bound


@pytest.mark.parametrize("what", ["change", "repair"])
async def test_health_tells_while_something_stays_refused(what: str) -> None:
    kernel = ModelKernel()
    node = Node(kernel)
    node.put(service("a", "203.0.113.10"), endpoint_slice("a", ["198.51.100.1"]))
    await node.turn()
    health = Health(lambda: node.syncer.waiting_since, 60.0, lambda: None)
    assert health.verdict(node.now) == (True, True)
    kernel.rules_fail = True
    if what == "change":
        node.put(service("b", "203.0.113.11"))
        node.syncer.wake()
    else:
        kernel.flush()
    await node.turns(3, 61.0)
    assert health.verdict(node.now) == (False, True)
    kernel.rules_fail = False
    await node.turns(2, 61.0)
    assert health.verdict(node.now) == (True, True)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with build(tmp_path) as made:
        yield made


@pytest.mark.netns
async def test_messages_that_the_kernel_refuses_for_want_of_memory_are_sent_again(daemon: Daemon) -> None:
    daemon.ipvs.refuse_next = [errno.ENOMEM, 0, errno.ENOBUFS]
    await daemon.start()
    await daemon.until("203.0.113.140", 80, {"198.51.100.18": 1})
    await daemon.until("192.0.2.11", 30080, {"198.51.100.18": 1})


@pytest.mark.netns
async def test_while_nft_fails_what_is_there_stays_and_what_is_new_waits(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    await daemon.start()
    await daemon.until("192.0.2.11", 30080, {"198.51.100.18": 1})
    path = os.environ["PATH"]
    (daemon.folder / "nft").write_text(
        "#!/bin/sh\necho 'netlink: Error: cannot allocate memory' >&2\nexit 1\n"
    )
    (daemon.folder / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", f"{daemon.folder}:{path}")
    await daemon.client.create(SERVICES, service_body("late", "203.0.113.150"))
    await daemon.client.create(ENDPOINTSLICES, slice_body("late", ["198.51.100.34"]))
    await daemon.client.replace(ENDPOINTSLICES, slice_body("web", ["198.51.100.18", "198.51.100.19"]))
    await daemon.until("192.0.2.11", 30080, {"198.51.100.18": 1, "198.51.100.19": 1})
    assert daemon.reals("203.0.113.150", 80) is None
    assert daemon.proxy is not None
    assert "cannot allocate memory" in daemon.proxy.syncer.failing
    async with aiohttp.ClientSession() as session, session.get("http://127.0.0.1:10249/metrics") as answer:
        text = await answer.text()
    assert "kubeproxy_sync_proxy_rules_iptables_restore_failures_total 0.0" not in text
    monkeypatch.setenv("PATH", path)
    await daemon.until("203.0.113.150", 80, {"198.51.100.34": 1})
