"""A host outside of the cluster has an address: found before anybody announced it, the Service gets another
one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from strictarp.kube.client import Client
from strictarp.kube.custom import ADDRESSCONFLICTS, ANNOUNCEDADDRESSES, SERVICEL2STATUSES, AddressState
from strictarp.kube.objects import EVENTS, NAMESPACES, SERVICES, Service
from strictarp.lab import namespaces
from strictarp.speaker import announced, l2status
from strictarp.speaker.actions import Kind
from strictarp.speaker.conflicting import Conflicts, Found
from strictarp.speaker.neighbours import FINDINGS
from strictarp.speaker.settings import SECOND
from support.api import Api, running_api
from support.api import until as eventually
from support.forked import until
from support.segment import bind_vip, needs_root
from support.speaker_daemon import NS, PORTS, furnish_services, make, make_endpoints
from support.speaker_objects import service
from support.speaker_processes import Listener, cluster
from support.speakers import SETTINGS, VIP, VIP6, Table

PRINTER = b"\2\0\0\0\0\x66"
BARE = bytes((192, 0, 2, 99))


def test_a_foreign_host_is_found_several_times_before_its_address_counts_as_taken() -> None:
    table = Table()
    table.foreign[VIP] = PRINTER
    table.show()
    table.after(20 * SECOND)
    assert table.owners() == []
    assert {each.mac for _, _, each in table.taken} == {PRINTER}
    first, by, _ = table.taken[0]
    assert first >= (FINDINGS - 1) * SETTINGS.foreign
    assert table.reported(Kind.ADDRESS_CONFLICT, by)


def test_the_same_by_ndp() -> None:
    table = Table(vips=(VIP6,))
    table.foreign[VIP6] = PRINTER
    table.show()
    table.after(20 * SECOND)
    assert {each.address for _, _, each in table.taken} == {VIP6}


def test_an_address_that_was_announced_is_not_given_up_to_a_stranger() -> None:
    table = Table().settled()
    (owner,) = table.owners()
    table.foreign[VIP] = PRINTER
    table.after(10 * SECOND)
    table.kill(owner)
    table.after(20 * SECOND)
    assert table.reported(Kind.ADDRESS_CONFLICT)
    assert table.owners() == []
    assert table.taken == []


def test_a_node_whose_answer_was_lost_at_first_is_no_stranger() -> None:
    """It has no speaker, and its kernel answers for the VIP: strictARP is off there."""
    table = Table()
    table.node_addresses[BARE] = "bare"
    table.foreign[VIP] = PRINTER
    table.show()
    table.after(SETTINGS.settle + SETTINGS.foreign)
    assert table.reported(Kind.ADDRESS_CONFLICT), "taken for one"
    table.foreign[BARE] = PRINTER
    table.after(20 * SECOND)
    assert table.taken == []
    assert len(table.owners()) == 1


class Judge:
    """The shell's part, with what it wrote."""

    def __init__(self, api: Api, *services: Service) -> None:
        self.failures = 0
        self.told: list[tuple[str, str]] = []
        self.conflicts = Conflicts(
            api.client,
            NS,
            "node1",
            services_of=lambda _: services,
            on_written=lambda about, text: self.told.append((about.key, text)),
            on_failure=self._fail,
        )

    def _fail(self) -> None:
        self.failures += 1

    def find(self) -> None:
        self.conflicts.found(Found(ip_address("192.0.2.100").packed, PRINTER, "eth0"))


@asynccontextmanager
async def judge(api: Api, *services: Service) -> AsyncIterator[Judge]:
    made = Judge(api, *services)
    task = asyncio.create_task(made.conflicts.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_it_is_written_once_with_who_where_and_for_whom(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, judge(api, service("web")) as one:
        for _ in range(3):
            one.find()
        await eventually(lambda: one.told)
        version = api.version
        one.find()
        await asyncio.sleep(0.05)
        assert api.version == version
        (written,) = (await api.client.list(ADDRESSCONFLICTS, NS)).items
        assert written.metadata.name == "192.0.2.100"
        spec = written.spec
        assert (spec.address, spec.mac, spec.node, spec.service) == (
            "192.0.2.100",
            "02:00:00:00:00:66",
            "node1",
            "default/web",
        )
        assert spec.seen is not None
        text = "02:00:00:00:00:66, which is no node's, answers for 192.0.2.100 on eth0; found before it was "
        text += "ever announced"
        assert one.told == [("default/web", text)]
        async with judge(api, service("web")) as two:
            two.find()
            await asyncio.sleep(0.05)
            assert two.told == [], "another speaker has said so"


@pytest.mark.parametrize("by", ["ours", "ours, by nobody now", "MetalLB's"])
async def test_an_address_that_the_api_knows_as_announced_stays(tmp_path: Path, by: str) -> None:
    async with running_api(tmp_path) as api, judge(api, service("web")) as one:
        if by == "MetalLB's":
            await api.client.create(SERVICEL2STATUSES, l2status.body("default/web", "node3"), NS)
        else:
            state = AddressState(node="node3", services=("default/web",))
            made = await api.client.create(ANNOUNCEDADDRESSES, announced.body("192.0.2.100", state), NS)
            if "nobody" in by:
                patch = announced.nobody(made.metadata.resource_version, "2026-11-26T00:00:00Z")
                await api.client.merge_patch(ANNOUNCEDADDRESSES, made.metadata.name, patch, NS)
        one.find()
        await asyncio.sleep(0.1)
        assert not (await api.client.list(ADDRESSCONFLICTS, NS)).items
        assert one.told == []


async def test_what_another_service_was_announced_with_long_ago_does_not_count(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, judge(api, service("web")) as one:
        state = AddressState(services=("default/gone",))
        await api.client.create(ANNOUNCEDADDRESSES, announced.body("192.0.2.100", state), NS)
        one.find()
        await eventually(lambda: one.told)


async def test_a_write_that_fails_is_made_when_it_is_found_again(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, judge(api, service("web")) as one:
        await api.fault(kind="status", path="/apis/strictarp.io/", count=1)
        one.find()
        await eventually(lambda: one.failures)
        one.find()
        await eventually(lambda: one.told)


@pytest.mark.netns
@needs_root
@pytest.mark.timeout(90)
def test_with_a_real_host_on_the_wire_the_service_gets_another_address(tmp_path: Path) -> None:
    """192.0.2.100 is a printer's. 192.0.2.101 is bound on node2, which has no speaker and answers for it: a
    node's kernel is no reason to give it up.
    """
    with cluster(tmp_path, "node1", "node2", others=["printer"]) as made:
        namespaces.ip(made.wire.hosts["printer"], "addr add 192.0.2.100/24 dev eth0")
        bind_vip(made.wire.hosts["node2"], "192.0.2.101")
        with namespaces.entered(made.wire.switch):
            until(lambda: made.ask(lambda client: client.version()), 10, "the API")
            made.ask(_furnish)
            made.start_controller()
            listener = Listener(made.wire, ("192.0.2.100",))
            made.start("node1")

            def address() -> str:
                web = made.ask(lambda client: client.get(SERVICES, "web", "default"))
                return next((each.ip or "" for each in web.status.load_balancer.ingress or ()), "")

            def announced_now() -> list[str]:
                found = made.ask(lambda client: client.list(ANNOUNCEDADDRESSES, NS)).items
                return [each.spec.address for each in found if each.status.node == "node1"]

            until(lambda: address() == "192.0.2.100", 10, "the lowest address")
            until(lambda: address() == "192.0.2.101", 20, "another one")
            until(lambda: announced_now() == ["192.0.2.101"], 10, "announced")
            listener.stop()
            (conflict,) = made.ask(lambda client: client.list(ADDRESSCONFLICTS, NS)).items
            assert (conflict.spec.address, conflict.spec.mac) == ("192.0.2.100", made.wire.mac("printer"))
            assert conflict.spec.service == "default/web"
            events = made.ask(lambda client: client.list(EVENTS, "default")).items
            reasons = {each.reason for each in events}
            assert {"addressConflict", "AddressTaken", "nodeAssigned", "kernelAnswers"} <= reasons
        assert listener.turns("192.0.2.100") == [made.wire.mac("printer")], (
            "the speaker never answered for it"
        )


async def _furnish(client: Client) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": NS}})
    await furnish_services(client, ["node1", "node2"], [])
    await make(client, SERVICES, "web", "default", spec={"type": "LoadBalancer", "ports": PORTS})
    await make_endpoints(client, "web")
