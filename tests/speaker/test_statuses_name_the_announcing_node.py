"""ServiceL2Status objects, against the embedded API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from strictarp.kube.custom import SERVICEL2STATUSES, ServiceL2Status
from strictarp.speaker import l2status, persisting
from strictarp.speaker.candidates import evaluate
from strictarp.speaker.statuses import Statuses
from support.api import Api, running_api
from support.speaker_objects import advertisement, facts, pool, service, slice_of

NS = "metallb-system"
WEB, MAIL = "default/web", "default/mail"


class Node:
    def __init__(self, api: Api, name: str) -> None:
        self.failures = 0
        self.statuses = Statuses(api.client, NS, name, on_failure=self._fail)

    def _fail(self) -> None:
        self.failures += 1

    async def shows(self, **wanted: tuple[str, ...]) -> None:
        self.statuses.show({f"default/{name}": links for name, links in wanted.items()})
        async with asyncio.timeout(5):
            await self.statuses.settled()


@asynccontextmanager
async def nodes(api: Api, *names: str) -> AsyncIterator[list[Node]]:
    made = [Node(api, name) for name in names]
    tasks = [asyncio.create_task(each.statuses.run()) for each in made]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def found(api: Api) -> dict[str, ServiceL2Status]:
    listing = await api.client.list(SERVICEL2STATUSES, NS)
    by_service = {
        f"{each.status.service_namespace}/{each.status.service_name}": each for each in listing.items
    }
    assert len(by_service) == len(listing.items), "one object a Service"
    return by_service


async def test_the_owner_writes_it_and_the_next_owner_replaces_it(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, nodes(api, "node1", "node2") as (one, two):
        await one.shows(web=("eth0",), mail=())
        there = await found(api)
        assert {key: each.status.node for key, each in there.items()} == {WEB: "node1", MAIL: "node1"}
        assert there[WEB].metadata.labels == {
            "metallb.io/node": "node1",
            "metallb.io/service-name": "web",
            "metallb.io/service-namespace": "default",
        }
        assert [each.name for each in there[WEB].status.interfaces or ()] == ["eth0"]
        await two.shows(web=("eth0",))
        assert (await found(api))[WEB].status.node == "node2", "node1 may be dead: its object goes"
        await one.shows(mail=())
        assert {key: each.status.node for key, each in (await found(api)).items()} == {
            WEB: "node2",
            MAIL: "node1",
        }
        await two.shows()
        assert list(await found(api)) == [MAIL]


async def test_what_did_not_change_is_not_written(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, nodes(api, "node1") as (one,):
        await one.shows(web=())
        version = api.version
        for _ in range(3):
            await one.shows(web=())
        await asyncio.sleep(0.1)
        assert api.version == version
        await one.shows(web=("eth1",))
        ((_, each),) = (await found(api)).items()
        assert [link.name for link in each.status.interfaces or ()] == ["eth1"]
        assert api.version == version + 1, "its interfaces are changed in place"


async def test_what_an_earlier_life_or_another_speaker_left_goes(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        for name, node in (("l2-old", "node1"), ("l2-metallb", "node3"), ("l2-other", "node2")):
            subject = "default/elsewhere" if name == "l2-other" else WEB
            body = l2status.body(subject, node)
            body["metadata"] = {**body["metadata"], "name": name}
            await api.client.create(SERVICEL2STATUSES, body, NS)
        async with nodes(api, "node1") as (one,):
            await one.shows(web=())
            names = {each.metadata.name for each in (await api.client.list(SERVICEL2STATUSES, NS)).items}
            assert names == {"l2-other", l2status.object_name(WEB, "node1")}


async def test_a_write_that_fails_is_counted_and_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persisting, "RETRY", 0.05)
    async with running_api(tmp_path) as api, nodes(api, "node1") as (one,):
        await one.statuses.settled()
        await api.fault(kind="status", path="/apis/metallb.io/", count=3)
        await one.shows(web=())
        assert one.failures == 3
        assert list(await found(api)) == [WEB]


async def test_an_object_that_somebody_deleted_amid_a_change_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persisting, "RETRY", 0.05)
    async with running_api(tmp_path) as api, nodes(api, "node1") as (one,):
        await one.shows(web=())
        await api.client.delete(SERVICEL2STATUSES, l2status.object_name(WEB, "node1"), NS)
        await one.shows(web=("eth0",))
        ((_, each),) = (await found(api)).items()
        assert [link.name for link in each.status.interfaces or ()] == ["eth0"]


async def test_where_the_kind_is_not_installed_nothing_is_tried_again_soon(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, nodes(api, "node1") as (one,):
        await one.statuses.settled()
        await api.fault(kind="status", status=404, path="/apis/metallb.io/", count=100)
        await one.shows(web=())
        assert one.failures == 0
        left = sum(fault["count"] for fault in api.server.faults.waiting())
        await asyncio.sleep(0.3)
        assert sum(fault["count"] for fault in api.server.faults.waiting()) == left == 99


def test_a_service_belongs_to_who_owns_its_first_address_that_can_be_announced() -> None:
    both = pool("lab", "192.0.2.100-192.0.2.119", "2001:db8::/120")
    known = facts(pools=[both], advertisements=[advertisement("lab", interfaces=["eth1", "eth0"])])
    verdict = evaluate(service("web", "192.0.2.100", "2001:db8::42"), [slice_of()], known)
    four, six = (ip_address(text).packed for text in ("192.0.2.100", "2001:db8::42"))
    assert l2status.wanted([verdict], {four, six}, "node1") == {WEB: ("eth0", "eth1")}
    assert l2status.wanted([verdict], {six}, "node1") == {}
    on6 = ((ip_address("2001:db8::11").packed, 64),)
    only6 = facts(pools=[both], subnets=dict.fromkeys(("node1", "node2", "node3"), on6))
    apart = evaluate(service("web", "192.0.2.100", "2001:db8::42"), [slice_of()], only6)
    assert l2status.wanted([apart], {six}, "node1") == {WEB: ()}


def test_names_fit_labels_and_tell_nodes_apart() -> None:
    assert l2status.label_value("a" * 62 + ".b") == "a" * 62
    assert l2status.object_name(WEB, "node1") != l2status.object_name(WEB, "node2")
    assert len(l2status.object_name(WEB, "n" * 253)) < 63
