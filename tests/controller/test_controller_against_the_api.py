"""The whole controller against the embedded API server, over HTTP."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from strictarp.controller import elector
from strictarp.controller.configuring import Rules
from strictarp.controller.daemon import Controller, Options
from strictarp.kube.custom import (
    ADDRESSCONFLICTS,
    CONFIGURATIONSTATES,
    IPADDRESSPOOLS,
    L2ADVERTISEMENTS,
    IPAddressPoolStatus,
)
from strictarp.kube.objects import EVENTS, LEASES, NODES, SECRETS, SERVICES, Service
from strictarp.lab.apiserver.targets import parse_path
from support.api import Api, running_api, until

NS = "metallb-system"
FROM_POOL = "metallb.io/ip-allocated-from-pool"


class Bench:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.client = api.client
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.controllers: dict[str, Controller] = {}

    def start(self, identity: str = "one", **rules: Any) -> None:  # noqa: ANN401 - those of Rules
        options = Options(None, identity, Rules(NS, **rules), metrics_port=0, health_port=0)
        self.controllers[identity] = Controller(options, self.client)
        self._tasks[identity] = asyncio.create_task(self.controllers[identity].run())

    async def stop(self, identity: str = "one", *, killed: bool = False) -> None:
        if killed:  # a killed process gives nothing back
            self.controllers[identity].elector._until = float("-inf")
        task = self._tasks.pop(identity)
        task.cancel()
        await asyncio.wait({task})

    async def end(self) -> None:
        for identity in tuple(self._tasks):
            await self.stop(identity)

    async def pool(self, name: str, *addresses: str) -> None:
        body = {"metadata": {"name": name, "namespace": NS}, "spec": {"addresses": list(addresses)}}
        await self.client.create(IPADDRESSPOOLS, body)

    async def service(self, name: str, annotations: dict[str, str] | None = None, **spec: object) -> None:
        metadata = {"name": name, "namespace": "default", "annotations": annotations or {}}
        ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
        await self.client.create(
            SERVICES, {"metadata": metadata, "spec": {"type": "LoadBalancer", "ports": ports, **spec}}
        )

    async def get(self, name: str) -> Service:
        return await self.client.get(SERVICES, name, "default")

    async def ips(self, name: str) -> list[str | None]:
        ingress = (await self.get(name)).status.load_balancer.ingress or ()
        return [entry.ip for entry in ingress]

    async def until_ips(self, name: str, *wanted: str, seconds: float = 5.0) -> None:
        for _ in range(int(seconds / 0.05)):
            if await self.ips(name) == list(wanted):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{name} has {await self.ips(name)}, wanted {wanted}")

    async def until_waits(self, name: str) -> str:
        for _ in range(100):
            if conditions := (await self.get(name)).status.conditions:
                return conditions[0].message or ""
            await asyncio.sleep(0.05)
        raise AssertionError(f"{name} has no condition")

    async def events(self, reason: str) -> list[tuple[str, str, int]]:
        found = (await self.client.list(EVENTS, "default")).items
        return [
            (event.involved_object.name, event.message or "", event.count or 0)
            for event in found
            if event.reason == reason
        ]

    async def quiet(self) -> int:
        """Writes other than renewals of the Lease have ended; returns the server's version."""
        before = -1
        while before != self.api.version:
            before = self.api.version
            await asyncio.sleep(0.3)
        return before


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_api(tmp_path) as api:
        made = Bench(api)
        await made.service("kubernetes-like", type="ClusterIP")
        yield made
        await made.end()


async def test_a_service_gets_the_lowest_address_with_mode_and_annotation(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.119")
    await bench.service("web")
    bench.start()
    await bench.until_ips("web", "192.0.2.100")
    service = await bench.get("web")
    assert service.status.load_balancer.ingress is not None
    assert service.status.load_balancer.ingress[0].ip_mode == "VIP"
    assert (service.metadata.annotations or {})[FROM_POOL] == "lab"
    await bench.quiet()
    assert await bench.events("IPAllocated") == [("web", 'Assigned IP ["192.0.2.100"]', 1)]


async def test_nothing_is_written_twice(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100/32")
    await bench.service("first")
    await bench.service("waits")
    bench.start()
    await bench.until_ips("first", "192.0.2.100")
    version = await bench.quiet()
    await bench.client.merge_patch(SERVICES, "first", {"metadata": {"labels": {"a": "b"}}}, "default")
    await bench.client.merge_patch(SERVICES, "waits", {"metadata": {"labels": {"a": "b"}}}, "default")
    assert await bench.quiet() == version + 2
    assert [event[::2] for event in await bench.events("AllocationFailed")] == [("waits", 1)]


async def test_a_service_that_waits_is_served_when_an_address_gets_free(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100/32")
    await bench.service("first")
    bench.start()
    await bench.until_ips("first", "192.0.2.100")
    await bench.service("second")
    await bench.quiet()
    assert await bench.ips("second") == []
    await bench.client.delete(SERVICES, "first", "default")
    await bench.until_ips("second", "192.0.2.100")


async def test_a_service_that_is_no_longer_a_load_balancer_is_cleared(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100/31")
    await bench.service("web")
    bench.start()
    await bench.until_ips("web", "192.0.2.100")
    await bench.client.merge_patch(SERVICES, "web", {"spec": {"type": "ClusterIP"}}, "default")
    await bench.until_ips("web")
    await bench.quiet()
    assert FROM_POOL not in ((await bench.get("web")).metadata.annotations or {})


async def test_after_a_kill_addresses_are_kept_although_lower_ones_are_free(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.119")
    for name in ("a", "b", "c"):
        await bench.service(name)
        if name == "a":
            bench.start()
        await bench.until_ips(name, f"192.0.2.{100 + 'abc'.index(name)}")
    await bench.stop(killed=True)
    await bench.client.delete(SERVICES, "a", "default")
    await bench.service("new")
    bench.start()
    await bench.until_ips("new", "192.0.2.100")
    assert await bench.ips("b") == ["192.0.2.101"]
    assert await bench.ips("c") == ["192.0.2.102"]


async def test_an_overlapping_pool_is_refused_and_the_last_good_ones_stay(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.119")
    await bench.service("web")
    bench.start()
    await bench.until_ips("web", "192.0.2.100")
    await bench.pool("other", "192.0.2.110-192.0.2.130")
    await bench.service("next")
    await bench.until_ips("next", "192.0.2.101")
    assert await bench.ips("web") == ["192.0.2.100"]
    errors = [record.__dict__["fields"]["errors"] for record in caplog.records if "refused" in record.message]
    assert errors == [
        (
            "IPAddressPool other: spec.addresses: 192.0.2.110-192.0.2.130 overlaps "
            "192.0.2.100-192.0.2.119 of IPAddressPool lab; an address must be in one item only",
        )
    ]
    await bench.client.merge_patch(IPADDRESSPOOLS, "other", {"spec": {"addresses": ["192.0.2.120/30"]}}, NS)
    await bench.service("from-other", {"metallb.io/address-pool": "other"})
    await bench.until_ips("from-other", "192.0.2.120")


async def test_an_address_outside_of_every_pool_is_refused_with_its_field(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.119")
    await bench.service("far", {"metallb.io/loadBalancerIPs": "198.51.100.9"})
    bench.start()
    await bench.service("web")
    await bench.until_ips("web", "192.0.2.100")
    await bench.quiet()
    assert await bench.ips("far") == []
    ((name, message, _),) = await bench.events("AllocationFailed")
    assert name == "far"
    assert message == (
        'Failed to allocate IP for "default/far": 198.51.100.9 lies in no IPAddressPool; '
        "the pools are: lab (192.0.2.100-192.0.2.119)"
    )


async def test_the_key_of_the_hellos_is_made_once(bench: Bench) -> None:
    bench.start()
    for _ in range(100):
        names = [secret.metadata.name for secret in (await bench.client.list(SECRETS, NS)).items]
        if names:
            break
        await asyncio.sleep(0.05)
    secret = await bench.client.get(SECRETS, "strictarp-hello", NS)
    assert len(base64.b64decode((secret.data or {})["key"])) == 32
    await bench.stop()
    bench.start()
    await bench.quiet()
    again = await bench.client.get(SECRETS, "strictarp-hello", NS)
    assert again.data == secret.data


async def test_writes_that_fail_are_repeated_and_give_the_same_address(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.119")
    bench.start()
    await bench.quiet()
    await bench.api.fault(kind="status", verb="patch", path="/api/v1/namespaces/default/services", count=2)
    await bench.service("web")
    await bench.until_ips("web", "192.0.2.100")
    await bench.quiet()
    assert [event[0] for event in await bench.events("IPAllocated")] == ["web"]


async def test_an_empty_list_frees_no_address(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.119")
    for name in ("a", "b"):
        await bench.service(name)
    bench.start()
    await bench.until_ips("b", "192.0.2.101")
    await bench.api.fault(kind="empty", verb="list", path="/api/v1/services", count=1)
    await bench.api.fault(kind="gone", verb="watch", path="/api/v1/services", count=0)
    await bench.service("new")
    await bench.until_ips("new", "192.0.2.102", seconds=20)
    assert await bench.ips("a") == ["192.0.2.100"]
    assert await bench.ips("b") == ["192.0.2.101"]


async def test_a_second_controller_waits_and_takes_over_what_was_given(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.119")
    await bench.service("web")
    bench.start("one")
    await bench.until_ips("web", "192.0.2.100")
    bench.start("two")
    await bench.quiet()
    lease = await bench.client.get(LEASES, "strictarp-controller", NS)
    assert lease.spec.holder_identity == "one"
    assert not bench.controllers["two"].elector.leading
    await bench.stop("one")  # gives the Lease back
    await bench.service("next")
    await bench.until_ips("next", "192.0.2.101")
    lease = await bench.client.get(LEASES, "strictarp-controller", NS)
    assert (lease.spec.holder_identity, lease.spec.lease_transitions) == ("two", 1)


async def test_without_its_lease_it_writes_nothing_and_goes_on_when_it_has_it_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("TRUST", 0.5), ("RENEW", 0.1), ("RETRY", 0.05)):
        monkeypatch.setattr(elector, name, seconds)
    await bench.pool("lab", "192.0.2.100-192.0.2.119")
    await bench.service("web")
    bench.start()
    await bench.until_ips("web", "192.0.2.100")
    await bench.api.fault(kind="status", path="/apis/coordination.k8s.io/", count=100_000)
    await until(lambda: not bench.controllers["one"].figures.leading)
    await bench.service("next")
    await asyncio.sleep(0.5)
    assert await bench.ips("next") == []
    bench.api.server.faults.clear()
    await bench.until_ips("next", "192.0.2.101")
    assert await bench.ips("web") == ["192.0.2.100"]


async def test_counters_stand_in_the_status_of_the_pool_and_are_put_right(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.103", "2001:db8::/64")
    for name in ("a", "b"):
        await bench.service(name)
    bench.start()
    expected = IPAddressPoolStatus(2, 0, 2, (1 << 63) - 1)

    async def until_counted() -> None:
        for _ in range(100):
            if (await bench.client.get(IPADDRESSPOOLS, "lab", NS)).status == expected:
                return
            await asyncio.sleep(0.05)
        raise AssertionError((await bench.client.get(IPADDRESSPOOLS, "lab", NS)).status)

    await until_counted()
    version = await bench.quiet()
    await asyncio.sleep(1.2)
    assert bench.api.version == version
    wrong = {"status": {"assignedIPv4": 77}}
    await bench.client.merge_patch(IPADDRESSPOOLS, "lab", wrong, NS, subresource="status")
    await until_counted()


async def test_who_waits_has_a_condition_until_it_is_served(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100/32")
    await bench.service("first")
    bench.start()
    await bench.until_ips("first", "192.0.2.100")
    await bench.service("second")
    await bench.quiet()
    (condition,) = (await bench.get("second")).status.conditions or ()
    assert (condition.type, condition.message) == ("strictarp.io/Waiting", "no available IPs")
    await bench.stop(killed=True)
    bench.start()
    await bench.quiet()
    assert [event[::2] for event in await bench.events("AllocationFailed")] == [("second", 1)]
    await bench.client.delete(SERVICES, "first", "default")
    await bench.until_ips("second", "192.0.2.100")
    assert not (await bench.get("second")).status.conditions


async def test_while_the_first_pools_are_wrong_a_service_is_told_so(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100/33")
    await bench.service("web")
    bench.start()
    assert "IPAddressPool lab: spec.addresses: '192.0.2.100/33' is no CIDR" in await bench.until_waits("web")
    await bench.client.merge_patch(IPADDRESSPOOLS, "lab", {"spec": {"addresses": ["192.0.2.100/32"]}}, NS)
    await bench.until_ips("web", "192.0.2.100")


async def test_an_edit_that_would_take_an_address_waits_until_the_service_has_let_go(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.103")
    await bench.service("web")
    bench.start(refuse_edits=True)
    await bench.until_ips("web", "192.0.2.100")
    await bench.client.merge_patch(IPADDRESSPOOLS, "lab", {"spec": {"addresses": ["192.0.2.102/31"]}}, NS)
    await bench.service("next")
    await bench.until_ips("next", "192.0.2.101")
    assert await bench.ips("web") == ["192.0.2.100"]
    await bench.client.delete(SERVICES, "next", "default")
    asks = {"metadata": {"annotations": {"metallb.io/loadBalancerIPs": "192.0.2.103"}}}
    await bench.client.merge_patch(SERVICES, "web", asks, "default")
    await bench.until_ips("web", "192.0.2.103")
    await bench.service("last")
    await bench.until_ips("last", "192.0.2.102")


async def test_an_edit_moves_a_service_with_an_event_by_default(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.103")
    await bench.service("web")
    bench.start()
    await bench.until_ips("web", "192.0.2.100")
    await bench.client.merge_patch(IPADDRESSPOOLS, "lab", {"spec": {"addresses": ["192.0.2.102/31"]}}, NS)
    await bench.until_ips("web", "192.0.2.102")
    await bench.quiet()
    ((name, message, _),) = await bench.events("ClearAssignment")
    assert (name, message.startswith("192.0.2.100 is given up: 192.0.2.100 lies in no IPAddressPool")) == (
        "web",
        True,
    )


async def test_overlaps_and_faults_are_reported_on_the_pool_and_in_the_configuration_state(
    bench: Bench,
) -> None:
    address = {"type": "InternalIP", "address": "192.0.2.101"}
    await bench.client.create(NODES, {"metadata": {"name": "n1"}, "status": {"addresses": [address]}})
    await bench.pool("lab", "192.0.2.100-192.0.2.103")
    bench.start()
    for _ in range(100):
        overlaps = [e for e in (await bench.client.list(EVENTS, NS)).items if e.reason == "Overlap"]
        if overlaps:
            break
        await asyncio.sleep(0.05)
    assert [event.message for event in overlaps] == [
        "spec.addresses: 192.0.2.100-192.0.2.103 holds 192.0.2.101, the address of Node n1; "
        "leave the nodes' own addresses out"
    ]
    await bench.quiet()
    state = (await bench.client.get(CONFIGURATIONSTATES, "controller", NS)).status
    assert (state.result, state.error_summary) == ("Valid", "")
    await bench.pool("bad", "192.0.2.103/32")
    await bench.quiet()
    state = (await bench.client.get(CONFIGURATIONSTATES, "controller", NS)).status
    assert state.result == "Invalid"
    assert state.error_summary.startswith("IPAddressPool lab: spec.addresses: ")
    await bench.client.delete(IPADDRESSPOOLS, "bad", NS)
    twice = {"metadata": {"name": "ad", "namespace": NS}, "spec": {"ipAddressPools": ["lab", "lab"]}}
    await bench.client.create(L2ADVERTISEMENTS, twice)
    await bench.quiet()
    state = (await bench.client.get(CONFIGURATIONSTATES, "controller", NS)).status
    assert (state.result, state.error_summary) == (
        "Invalid",
        "L2Advertisement ad: spec.ipAddressPools: 'lab' is listed twice; list it once",
    )


async def test_an_address_found_taken_is_replaced_by_another(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.103")
    await bench.service("web")
    bench.start()
    await bench.until_ips("web", "192.0.2.100")
    conflict = {"metadata": {"name": "ip-192.0.2.100"}, "spec": {"address": "192.0.2.100"}}
    await bench.client.create(ADDRESSCONFLICTS, conflict, NS)
    await bench.until_ips("web", "192.0.2.101")
    await bench.quiet()
    assert [event[0] for event in await bench.events("AddressTaken")] == ["web"]
    await bench.client.delete(ADDRESSCONFLICTS, "ip-192.0.2.100", NS)
    await bench.service("next")
    await bench.until_ips("next", "192.0.2.100")


async def test_it_works_where_only_metallbs_definitions_are_installed(bench: Bench) -> None:
    for path in (
        "/apis/strictarp.io/",
        "/apis/metallb.io/v1beta1/namespaces/metallb-system/configurationstates",
    ):
        await bench.api.fault(kind="status", status=404, path=path, count=100_000)
    await bench.pool("lab", "192.0.2.100-192.0.2.103")
    await bench.service("web")
    bench.start()
    await bench.until_ips("web", "192.0.2.100")


async def test_an_address_never_stands_in_two_statuses_although_clearing_fails(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100/32")
    await bench.service("first")
    bench.start()
    await bench.until_ips("first", "192.0.2.100")
    await bench.service("second")
    await bench.quiet()
    path = "/api/v1/namespaces/default/services/first/status"
    await bench.api.fault(kind="status", verb="patch", path=path, count=3)
    asks = {"metadata": {"annotations": {"metallb.io/loadBalancerIPs": "192.0.2.222"}}}
    await bench.client.merge_patch(SERVICES, "first", asks, "default")
    seen = []
    for _ in range(200):
        seen.append((await bench.ips("first"), await bench.ips("second")))
        if seen[-1] == ([], ["192.0.2.100"]):
            break
        await asyncio.sleep(0.02)
    assert seen[-1] == ([], ["192.0.2.100"])
    assert seen.count((["192.0.2.100"], [])) > 10  # the failures were there
    assert (["192.0.2.100"], ["192.0.2.100"]) not in seen


async def test_before_there_is_a_pool_nobody_loses_anything_and_who_waits_is_told(bench: Bench) -> None:
    await bench.service("has")
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.100"}]}}}
    await bench.client.merge_patch(SERVICES, "has", ingress, "default", subresource="status")
    await bench.service("waits")
    bench.start()
    assert await bench.until_waits("waits") == "there is no IPAddressPool"
    await bench.quiet()
    assert await bench.ips("has") == ["192.0.2.100"]
    await bench.pool("lab", "192.0.2.100-192.0.2.103")
    await bench.until_ips("waits", "192.0.2.101")
    assert await bench.ips("has") == ["192.0.2.100"]


def put_raw(bench: Bench, path: str, document: dict[str, object]) -> None:
    bench.api.server.engine.put_raw(parse_path(path), document)


async def test_a_pool_that_cannot_be_decoded_is_named_and_takes_nothing_away(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.119")
    await bench.pool("odd", "198.51.100.0/24")
    await bench.service("web", {"metallb.io/address-pool": "odd"})
    bench.start()
    await bench.until_ips("web", "198.51.100.0")
    await bench.stop(killed=True)
    put_raw(
        bench,
        f"/apis/metallb.io/v1beta1/namespaces/{NS}/ipaddresspools/odd",
        {"spec": {"addresses": ["198.51.100.0/24"], "autoAssign": "yes"}},
    )
    bench.start()
    await bench.service("next")
    said = await bench.until_waits("next")
    assert "IPAddressPool odd: spec.autoAssign: Expected `bool | null`, got `str`" in said
    assert await bench.ips("web") == ["198.51.100.0"]
    assert await bench.events("ClearAssignment") == []
    await bench.client.delete(IPADDRESSPOOLS, "odd", NS)
    await bench.until_ips("next", "192.0.2.100")


async def test_the_address_of_a_service_that_cannot_be_decoded_is_given_to_nobody(bench: Bench) -> None:
    await bench.pool("lab", "192.0.2.100-192.0.2.119")
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.100"}]}}
    spec = {"type": "LoadBalancer", "healthCheckNodePort": "x"}
    put_raw(bench, "/api/v1/namespaces/default/services/odd", {"spec": spec, "status": status})
    await bench.service("web")
    bench.start()
    await bench.until_ips("web", "192.0.2.101")
    put_raw(bench, "/api/v1/namespaces/default/services/odd", {"spec": {"type": 5}, "status": {}})
    await bench.service("next")
    await bench.until_ips("next", "192.0.2.100")
