"""AnnouncedAddress objects: what they say, when they are written, and that nothing is once all is quiet."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest

from strictarp.kube.custom import ANNOUNCEDADDRESSES, AddressState, AnnouncedAddress
from strictarp.kube.objects import LEASES
from strictarp.lab import namespaces
from strictarp.speaker import announced, noting, persisting, renewal
from strictarp.speaker.addresses import Addresses
from strictarp.speaker.announced import Ledger, Seen, object_name
from strictarp.speaker.daemon import Options, Speaker
from strictarp.speaker.observing import Holding
from strictarp.speaker.settings import MS, SECOND, Settings
from support.api import Api, running_api
from support.segment import build, needs_root
from support.speaker_daemon import FOUR, NS, furnish, with_ipv6
from support.speakers import SETTINGS, VIP, Table

MAC, OTHER = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
ONE, TWO = "192.0.2.100", "2001:db8::64"


def packed(text: str) -> bytes:
    return ip_address(text).packed


def seen(*answerers: bytes, runner_up: str = "node2") -> Seen:
    found = frozenset(answerers) if answerers else None
    return Seen("eth0", MAC, ("default/web",), Holding(runner_up, found))


def test_an_audit_that_finds_the_same_again_changes_nothing() -> None:
    ledger = Ledger("node1")
    ledger.took(packed(ONE), "t0")
    first = ledger.states({packed(ONE): seen()}, "t1")
    assert first == {
        ONE: AddressState("node1", "02:00:00:00:00:01", "eth0", "t0", ("default/web",), "node2", None)
    }
    audited = ledger.states({packed(ONE): seen(MAC)}, "t2")
    assert audited[ONE].audit is not None
    assert (audited[ONE].audit.answerers, audited[ONE].audit.at) == (("02:00:00:00:00:01",), "t2")
    assert ledger.states({packed(ONE): seen(MAC)}, "t3") == audited
    two = ledger.states({packed(ONE): seen(MAC, OTHER)}, "t4")[ONE]
    assert two.audit is not None
    assert (len(two.audit.answerers), two.audit.at, two.since) == (2, "t4", "t0")


def test_an_address_that_comes_back_has_another_since() -> None:
    ledger = Ledger("node1")
    ledger.took(packed(ONE), "t0")
    ledger.states({packed(ONE): seen()}, "t0")
    ledger.states({}, "t5")
    ledger.took(packed(ONE), "t6")
    assert ledger.states({packed(ONE): seen()}, "t7")[ONE].since == "t6"


@pytest.mark.parametrize("text", [ONE, TWO, "::", "fe80::1", "2001:db8::"])
def test_names_can_be_names_of_objects(text: str) -> None:
    name = object_name(text)
    assert name.replace("-", "").replace(".", "").isalnum()
    assert name == name.lower()
    assert name[0].isalnum()
    assert name[-1].isalnum()


def test_the_machine_knows_the_runner_up_and_who_answered() -> None:
    table = Table(settings=msgspec.structs.replace(SETTINGS, audit=SECOND)).settled()
    first, second, third = table.first()
    machine = table.machines[first]
    table.after(4 * SECOND)
    own = frozenset({table.macs[first]})
    assert machine.holdings == {VIP: Holding(second, own)}
    table.kill(second)
    table.after(2 * SECOND)
    assert machine.holdings == {VIP: Holding(third, own)}
    assert table.machines[third].holdings == {}


class Node:
    def __init__(self, api: Api, name: str) -> None:
        self.failures = 0
        self.name = name
        self.used = {ONE, TWO}
        self.addresses = Addresses(api.client, NS, name, in_use=lambda: self.used, on_failure=self._fail)

    def _fail(self) -> None:
        self.failures += 1

    def state(self, **fields: object) -> AddressState:
        return AddressState(node=self.name, **{"mac": "02:00:00:00:00:01", "since": "2026-11-26T00:00:00Z",
                                               **fields})  # fmt: skip

    async def shows(self, *addresses: str, **fields: object) -> None:
        self.addresses.show(dict.fromkeys(addresses, self.state(**fields)))
        async with asyncio.timeout(5):
            await self.addresses.settled()


@asynccontextmanager
async def nodes(api: Api, *names: str) -> AsyncIterator[list[Node]]:
    made = [Node(api, name) for name in names]
    tasks = [asyncio.create_task(each.addresses.run()) for each in made]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def found(api: Api) -> Mapping[str, AnnouncedAddress]:
    return {each.spec.address: each for each in (await api.client.list(ANNOUNCEDADDRESSES, NS)).items}


async def test_each_address_has_one_object_that_its_owner_writes(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, nodes(api, "node1", "node2") as (one, two):
        await one.shows(ONE, TWO, runner_up="node2")
        there = await found(api)
        assert {address: each.status for address, each in there.items()} == dict.fromkeys(
            (ONE, TWO), one.state(runner_up="node2")
        )
        assert there[TWO].metadata.name == "2001-0db8-0000-0000-0000-0000-0000-0064"
        await two.shows(ONE)
        assert (await found(api))[ONE].status == two.state(), "what the last owner knew is gone"
        await one.shows(TWO)
        assert (await found(api))[ONE].status.node == "node2", "who lost it takes nothing back"


async def test_what_did_not_change_is_not_written(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, nodes(api, "node1") as (one,):
        await one.shows(ONE)
        version = api.version
        for _ in range(3):
            await one.shows(ONE)
        assert api.version == version


async def test_an_address_that_nobody_takes_names_nobody_and_one_of_no_service_goes(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, nodes(api, "node1") as (one,):
        await one.shows(ONE, TWO)
        one.used = {ONE}
        await one.shows()
        (left,) = (await found(api)).values()
        assert (left.spec.address, left.status.node, left.status.mac) == (ONE, None, None)
        assert left.status.since is not None
        one.used = set()
        await one.shows(TWO)
        assert set(await found(api)) == {ONE, TWO}, "that it was announced is known until somebody sweeps"


async def test_what_an_earlier_life_left_is_put_right(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        async with nodes(api, "node1", "node2") as (one, two):
            await one.shows(ONE, TWO)
            await two.shows("192.0.2.102")
            one.used = {ONE, TWO, "192.0.2.103"}
            await one.shows(ONE, TWO, "192.0.2.103")
            await one.shows(ONE, TWO)
        async with nodes(api, "node1") as (again,):
            await asyncio.sleep(0.05)
            assert len(await found(api)) == 4, "before anything is known nothing is touched"
            again.used = {ONE, "192.0.2.102"}
            await again.shows(ONE)
            there = await found(api)
            assert {address: each.status.node for address, each in there.items()} == {
                ONE: "node1",
                "192.0.2.102": "node2",
            }


async def test_a_write_that_fails_is_counted_and_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persisting, "RETRY", 0.05)
    async with running_api(tmp_path) as api, nodes(api, "node1") as (one,):
        await api.fault(kind="status", path="/apis/strictarp.io/", count=3)
        await one.shows(ONE)
        assert one.failures == 3
        assert list(await found(api)) == [ONE]


async def test_two_that_write_at_once_leave_the_owner_standing(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        node = Node(api, "node1")
        await api.client.create(ANNOUNCEDADDRESSES, announced.body(ONE, node.state()), NS)
        stale = (await found(api))[ONE].metadata.resource_version
        other = announced.document(Node(api, "node2").state())
        await api.client.merge_patch(ANNOUNCEDADDRESSES, object_name(ONE), other, NS)
        with pytest.raises(Exception, match="409"):
            await api.client.merge_patch(
                ANNOUNCEDADDRESSES, object_name(ONE), announced.nobody(stale, "2026-11-26T00:00:00Z"), NS
            )


QUICK = Settings(hello=200 * MS, claim=200 * MS, late=90 * MS, accept=120 * MS, settle=SECOND, audit=700 * MS)
RENEW = 0.5
SECONDS = float(os.environ.get("STRICTARP_STEADY_SECONDS", "2"))


@pytest.mark.netns
@needs_root
async def test_in_steady_state_nothing_is_written_but_one_renewal_of_the_lease_in_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All times are a tenth of the real ones or less: the audit asks several times."""
    monkeypatch.setattr(renewal, "RENEW", RENEW)
    monkeypatch.setattr(noting, "AGAIN", 0.5)
    with build(["node1"]) as wire, namespaces.entered(with_ipv6(wire).hosts["node1"]):
        async with running_api(tmp_path) as api:
            await furnish(api)
            speaker = Speaker(Options(None, "node1", QUICK, metrics_port=0), api.client)
            work = asyncio.create_task(speaker.run())
            try:
                state = await audited(api)
                assert state.status.audit is not None
                assert state.status.audit.answerers == (wire.mac("node1"),)
                assert (state.status.node, state.status.interface) == ("node1", "eth0")
                await asyncio.sleep(1.0)
                segment = next(iter(speaker._segments.values()))
                asked = segment.machine._core.audited_at
                before, version = writes(api), api.version
                await asyncio.sleep(SECONDS)
                done = {method: writes(api)[method] - before[method] for method in before}
                assert segment.machine._core.audited_at != asked, "the audit went on"
                renewals = SECONDS / RENEW
                assert done["POST"] == done["PUT"] == done["DELETE"] == 0
                assert renewals - 2 <= done["PATCH"] <= renewals + 1
                assert api.version - version == done["PATCH"]
                (lease,) = (await api.client.list(LEASES, NS)).items
                assert lease.metadata.name == "strictarp-speaker-node1"
            finally:
                work.cancel()
                await asyncio.wait({work})


async def audited(api: Api) -> AnnouncedAddress:
    for _ in range(150):
        found_now = (await found(api)).get(FOUR)
        if found_now is not None and found_now.status.audit is not None:
            return found_now
        await asyncio.sleep(0.1)
    raise AssertionError("not audited in time")


def writes(api: Api) -> dict[str, int]:
    answers = api.client.answers
    return {
        method: sum(count for (each, _), count in answers.items() if each == method)
        for method in ("POST", "PUT", "PATCH", "DELETE")
    }
