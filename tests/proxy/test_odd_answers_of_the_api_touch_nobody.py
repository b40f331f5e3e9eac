"""The daemon, from the API's bytes to a model of the kernel, when objects and streams are odd.

Other Services keep what is programmed without one message, each refused part is told once, and in the end the
kernel holds what the plan of the same objects says.
"""

import asyncio
import copy
import gc
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.netlink.rtnl import Address, Link
from strictarp.proxy.config import Config
from strictarp.proxy.daemon import Options, Proxy
from strictarp.proxy.documents import Objects, parse_objects
from strictarp.proxy.engine import parts_of
from strictarp.proxy.operations import Operation
from strictarp.proxy.seam import HostLinks
from strictarp.proxy.settings import Settings
from strictarp.proxy.situation import NodeFacts, situation
from support.api_bytes import ByteApi
from support.model_kernel import ModelKernel
from support.odd_objects import FULL_SERVICE, FULL_SLICE, places, put, values
from support.proxy_objects import service_body, slice_body
from support.syncing import State, planned, programmed

HERE = bytes([192, 0, 2, 11])
UDP = [{"name": "dns", "port": 53, "protocol": "UDP"}]
RANGES = {"loadBalancerSourceRanges": ["10.0.0.0/8"]}
GOOD_SERVICES: list[object] = [
    service_body(
        "good", "203.0.113.99", type="LoadBalancer", ingress=["192.0.2.150"], sessionAffinity="ClientIP",
        ports=[{"name": "http", "port": 80, "nodePort": 30099}], **RANGES,
    ),
    service_body("dns", "203.0.113.98", ports=UDP),
    service_body("six", "2001:db8:99::1", ipFamilies=["IPv6"]),
]  # fmt: skip
GOOD_SLICES: list[object] = [
    slice_body("good", [("198.51.100.99", "node1"), ("198.51.100.98", "node2")]),
    slice_body("dns", [("198.51.100.97", "node2")], ports=UDP),
    slice_body("six", [("2001:db8:98::1", "node1")], kind="IPv6"),
]
GOOD_TEXTS = ("203.0.113.9", "192.0.2.150", "2001:db8:9", "198.51.100.9", ". tcp . 30099")
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": "a"}},
    "spec": {"podCIDR": "198.51.100.0/24", "podCIDRs": ["198.51.100.0/24"], "taints": [{"key": "a"}]},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
}
SOUND = {"services": FULL_SERVICE, "endpointslices": FULL_SLICE, "nodes": NODE}
_IDENTITY = (("metadata",), ("metadata", "name"), ("metadata", "namespace"), ("apiVersion",), ("kind",))
spots = [
    (plural, path) for plural, body in SOUND.items() for path in places(body) if path not in _IDENTITY
]  # fmt: skip
one_change = st.lists(st.tuples(st.sampled_from(spots), values), min_size=1, max_size=3)
junk = st.tuples(
    st.sampled_from(sorted(SOUND)),
    st.sampled_from(
        [b"{", b"null", b'{"type":"BOOKMARK","object":{}}', b'{"type":"ERROR","object":7}', b"\xff",
         b'{"type":"ERROR","object":{"code":410}}', b'{"type":"NEWS","object":{"metadata":{"name":"x"}}}',
         b'{"type":"ADDED","object":{"metadata":{"name":5}}}']
    ),
)  # fmt: skip


class _Kernel(ModelKernel):
    async def host_links(self) -> HostLinks:
        return HostLinks((Link(2, "eth0", 1, b"\0\1\2\3\4\5"),), (Address(2, HERE, 24),))


class Daemon:
    """Its caches follow the bytes; its turns are taken by the test, on a clock of the test's own."""

    def __init__(self) -> None:
        self.api, self.kernel = ByteApi(), _Kernel()
        self.bodies: dict[str, dict[str, object]] = {}
        for plural, body in SOUND.items():
            self.hold(plural, copy.deepcopy(body))
        options = Options(Config(), Settings(), "node1")
        self.proxy = Proxy(options, self.kernel, self.api, ensure=lambda *_: None)  # type: ignore[arg-type]
        self.now = 1000.0
        self.proxy.syncer._clock = lambda: self.now

    def hold(self, plural: str, body: object) -> None:
        """The odd object as the API has it now, beside sound ones."""
        beside = {"services": GOOD_SERVICES, "endpointslices": GOOD_SLICES}.get(plural, [])
        self.api.items[plural] = [*beside, body]

    async def turns(self, *after: float) -> None:
        for seconds in after:
            await asyncio.sleep(2)
            self.now += seconds
            await self.proxy.syncer.turn()

    def planned(self) -> State:
        objects = Objects()
        items = [*self.api.items["services"], *self.api.items["endpointslices"]]
        parse_objects(json.dumps({"kind": "List", "items": items}), "f", objects)
        return planned(objects.services, objects.slices, self.proxy.engine.facts)


@asynccontextmanager
async def running() -> AsyncIterator[Daemon]:
    daemon = Daemon()
    proxy = daemon.proxy
    await proxy.read_everything()
    tasks = [asyncio.create_task(cache.run()) for cache in (proxy.services, proxy.slices, proxy.nodes)]
    try:
        await daemon.turns(1)
        yield daemon
        assert not any(task.done() for task in tasks), tasks
    finally:
        gc.unfreeze()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _of_others(operation: Operation) -> list[str]:
    """What of the sound Services an operation names."""
    touched = parts_of(operation)
    named = [*map(repr, touched.keys), *(text for _, text in touched.elements)]
    texts = [text for text in named if any(good in text for good in GOOD_TEXTS)]
    return (
        texts
        + [str(key) for key in touched.keys if key in GOOD_KEYS]
        + [str(address) for address in touched.addresses if address in {key[1] for key in GOOD_KEYS}]
    )


def _good_keys() -> frozenset[object]:
    objects = Objects()
    parse_objects(json.dumps({"kind": "List", "items": [*GOOD_SERVICES, *GOOD_SLICES]}), "f", objects)
    facts = situation(Config(), NodeFacts("node1", (HERE,)))
    return frozenset(server.key for server in planned(objects.services, objects.slices, facts)[0])


GOOD_KEYS: frozenset[tuple[int, bytes, int]] = _good_keys()  # type: ignore[assignment]


class Told(logging.Handler):
    """The lines about what is refused since `take` was called last."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", {})
        if record.getMessage() == "object refused":
            self._lines.append(f"{fields['what']} {fields['key']}: {fields['reason']}")
        elif "cannot follow" not in record.getMessage() and "event lost" not in record.getMessage():
            self._lines.append(record.getMessage())

    def take(self) -> list[str]:
        """And forget them."""
        lines, self._lines = self._lines, []
        return lines


async def _play(script: list[object], told: Told) -> None:
    async with running() as daemon:
        kernel = daemon.kernel
        assert programmed(kernel) == daemon.planned()
        told.take()
        kernel.log.clear()
        loads = kernel.loads
        for step in script:
            if isinstance(step, tuple):
                daemon.api.send_bytes(*step)
                continue
            assert isinstance(step, list)
            for plural in sorted({plural for (plural, _), _ in step}):
                body = copy.deepcopy(SOUND[plural])
                for (of, path), value in step:
                    if of == plural:
                        put(body, path, value)
                daemon.hold(plural, body)
                daemon.api.send(plural, "MODIFIED", body)
            await daemon.turns(1)
            lines = told.take()
            assert len(set(lines)) == len(lines)
            assert all(line.count(": ") >= 2 for line in lines), lines
        for plural in SOUND:  # the same once more, in a list and by a watch
            daemon.api.send_bytes(plural, b'{"type":"ERROR","object":{"code":410}}')
            daemon.api.send(plural, "MODIFIED", daemon.api.items[plural][-1])
        await daemon.turns(1)
        assert told.take() == []
        await daemon.turns(2000, 2000, 2000)
        assert daemon.proxy.syncer.failing == ""
        assert programmed(kernel) == daemon.planned()
        assert (kernel.violations, kernel.loads) == ([], loads)
        assert [what for operation in kernel.log for what in _of_others(operation)] == []


@settings(max_examples=60)
@given(st.lists(one_change | junk, min_size=1, max_size=5))
def test_other_services_keep_all_they_have_and_each_refused_part_is_told_once(script: list[object]) -> None:
    told = Told()
    log = logging.getLogger("strictarp")
    log.addHandler(told)
    try:
        with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
            runner.run(_play(script, told))
    finally:
        log.removeHandler(told)


def _virtually(work: Callable[[Daemon], Awaitable[None]]) -> None:
    async def play() -> None:
        async with running() as daemon:
            await work(daemon)

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(play())


def test_ten_thousand_ports_disturb_nobody() -> None:
    async def work(daemon: Daemon) -> None:
        daemon.kernel.log.clear()
        numbers = range(1, 10_001)
        service = {**FULL_SERVICE, "spec": {
            "clusterIP": "203.0.113.10", "ports": [{"name": f"p{n}", "port": n} for n in numbers],
        }}  # fmt: skip
        piece = {**FULL_SLICE, "ports": [{"name": f"p{n}", "port": n} for n in numbers]}
        for plural, body in (("services", service), ("endpointslices", piece)):
            daemon.hold(plural, body)
            daemon.api.send(plural, "MODIFIED", body)
        await daemon.turns(1, 2000)
        assert programmed(daemon.kernel) == daemon.planned()
        assert len(daemon.kernel.servers) == 10_000 + len(GOOD_KEYS)
        assert [what for operation in daemon.kernel.log for what in _of_others(operation)] == []

    _virtually(work)


def test_the_api_is_asked_for_what_is_no_other_proxys_and_not_headless() -> None:
    async def work(daemon: Daemon) -> None:
        wanted = {"!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless"}
        assert daemon.api.asked == {"services": wanted, "endpointslices": wanted, "nodes": {""}}

    _virtually(work)
