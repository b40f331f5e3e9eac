"""Scope `vips` on the running kernel: every answer but those for Service IPs stays exactly as it was."""

import asyncio
import os
import random
import socket
import time
from pathlib import Path

import msgspec
import pytest

from strictarp.arp import collecting
from strictarp.arp.facts import Host, dotted
from strictarp.arp.frames import decode, encode
from strictarp.arp.nft import Ruleset
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.preflight import receivers
from strictarp.arp.switching import Scope, switched
from strictarp.guard import once, table
from strictarp.guard.guardian import Guardian
from strictarp.guard.settings import Settings
from strictarp.guard.verdicts import in_force
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from support.arp_kernel import Answer, Tally, Wire, ask, available, build, compare_senders, predict
from support.arp_kernel import node as empty
from support.guarding import (
    FAR,
    FAR_MAC,
    NODE,
    OTHER_VIP,
    VIP,
    guarding,
    inside,
    node,
    request,
    settings,
    until,
)
from support.random_hosts import ASKERS, Dev, Frame, RandomHost, make
from support.segment import needs_root

pytestmark = [needs_root, pytest.mark.netns]

HOSTS = int(os.environ.get("STRICTARP_HOSTS", "20"))
VIPS = ("10.0.0.240", "192.0.2.241", "203.0.113.9", "10.0.0.100")


def with_vips(host: RandomHost, rng: random.Random) -> RandomHost:
    """With kube-ipvs0 somewhere, Service IPs on it, and frames that ask for them and for everything else."""
    device = Dev("kube-ipvs0", "dummy", "02:00:00:00:01:60", up=rng.random() < 0.3, arp=False)
    devices = (device, *host.devices) if rng.random() < 0.5 else (*host.devices, device)
    held = [f"ip addr add {address}/32 dev kube-ipvs0" for address in rng.sample(VIPS, 3)]
    asked = []
    doors = [each.name for each in host.devices if each.kind in ("nic", "vlan")]
    for _ in range(16):
        sender = rng.choice(("0.0.0.0", f"10.0.0.{rng.choice(ASKERS)}", f"192.0.2.{rng.choice(ASKERS)}"))
        asked.append(Frame(rng.choice(doors), sender, rng.choice(VIPS), op=2 if rng.random() < 0.1 else 1))
    return msgspec.structs.replace(
        host,
        devices=devices,
        commands=(*host.commands, *held),
        frames=(*host.frames, *asked),
        nft="" if "limit" in host.nft else host.nft,  # every round would use some of it up
    )


def settled(host: RandomHost, wire: Wire) -> list[list[Answer]]:
    """Answers to every frame, asked until two rounds agree: a link may need a moment."""
    rounds = [ask(host, wire, 0.0)]
    for pause in (0.05, 0.3, 1.0, 1.5):
        rounds.append(ask(host, wire, pause))
        if rounds[-1] == rounds[-2]:
            break
    return [sorted(answers) for answers in rounds[-1]]


def facts_of(space: Namespace, host: RandomHost, name: str) -> Host:
    """The facts with the rules that were there and our table, as the kernel lists it."""

    async def read() -> tuple[Host, str]:
        return await collecting.collect(), await table.read(name)

    with namespaces.entered(space):
        facts, listed = asyncio.run(read())
    return msgspec.structs.replace(
        facts, nft=Ruleset((*parse_nft(host.nft).tables, *parse_nft(listed).tables))
    )


async def _load(told: Settings) -> None:
    guardian = Guardian(told, lambda drift: drift)
    try:
        await guardian.start()
    finally:
        guardian.close()


@pytest.mark.timeout(600)
def test_random_hosts_answer_for_everything_else_as_before(tmp_path: Path) -> None:
    seed = int(os.environ.get("STRICTARP_SEED") or random.SystemRandom().randrange(1 << 40))
    print(f"seed {seed}")
    kinds = available(("bridge", "vlan", "macvlan"))
    wire, tally = Wire(), Tally()
    silenced = kept = 0
    for number in range(seed, seed + HOSTS):
        rng = random.Random(number)
        host = with_vips(make(rng, kinds), rng)
        wire.number += 1
        with empty() as space:
            build(space, host, wire, standin="bridge")
            before_facts = facts_of(space, host, "strictarp")
            doors = [device.name for device in receivers(before_facts) if device.name != "kube-ipvs0"]
            uplinks = tuple(name for name in doors if rng.random() < 0.7) or tuple(doors[:1])
            told = Settings(Scope.VIPS, uplinks or ("e0",), tmp_path / str(number))
            before = settled(host, wire)
            with namespaces.entered(space):
                asyncio.run(_load(told))
            after_facts = facts_of(space, host, "strictarp")
            after = settled(host, wire)
            vips = {dotted(vip) for vip in before_facts.vips}
            model = [sorted(answers) for answers, _ in predict(host, after_facts)]
            again = [sorted(a) for a, _ in predict(host, switched(before_facts, Scope.VIPS, told.uplinks))]
            for frame, was, now, said, foreseen in zip(host.frames, before, after, model, again, strict=True):
                assert now == said == foreseen, f"seed {number} {frame} was {was}"
                if frame.tip not in vips:
                    assert now == was, f"seed {number} {frame}"
                    kept += bool(now)
                elif set(uplinks) == set(doors):
                    assert now == [], f"seed {number} {frame}"
                silenced += bool(was) and not now
            for name in uplinks:
                assert in_force(after_facts, name), f"seed {number} {name}: {in_force(after_facts, name)}"
            found = compare_senders(number, host, after_facts, space, wire=wire, tally=tally)
            if found:  # a frame that came late is taken for the next one's: once more, when it is quiet
                time.sleep(3.5)
                found = compare_senders(number, host, after_facts, space, wire=wire, tally=tally)
            assert found == []
            with namespaces.entered(space):
                asyncio.run(once.put_back(told))
            assert settled(host, wire) == before, f"seed {number} after --release"
    wire.close()
    print(f"{HOSTS} hosts: {silenced} answers for VIPs silenced, {kept} others kept, {tally.senders} senders")
    assert silenced > HOSTS // 4
    assert kept > HOSTS


def test_a_raw_socket_sees_requests_and_its_own_frames_leave_as_they_are(tmp_path: Path) -> None:
    with node(VIP, OTHER_VIP) as made:
        assert [decode(raw).operation for raw in made.ask(VIP)] == [2]

        async def work() -> None:
            async with guarding(settings(tmp_path, "vips")):
                speaker = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
                speaker.bind(("eth0", 0x0806))
                speaker.settimeout(1)
                assert made.ask(VIP) == []
                assert made.ask(OTHER_VIP) == []
                assert [decode(raw).operation for raw in made.ask(NODE)] == [2]
                seen = [decode(speaker.recv(200)) for _ in range(2)]
                assert [socket.inet_ntoa(each.target_ip) for each in seen] == [VIP, OTHER_VIP]
                answer = msgspec.structs.replace(
                    request(VIP, FAR), operation=2, destination=FAR_MAC, target_mac=FAR_MAC
                )
                announcement = request(VIP, VIP)
                for frame in (answer, announcement):
                    speaker.send(encode(frame))
                left = [decode(raw) for raw in made.heard()]
                assert left == [answer, announcement]
                speaker.close()

        inside(made, work)


def test_an_address_that_the_node_holds_itself_keeps_answering(tmp_path: Path) -> None:
    with node(VIP, NODE) as made:

        async def work() -> None:
            async with guarding(settings(tmp_path, "vips")) as (guardian, _):
                assert len(made.ask(NODE)) == 1
                assert made.ask(VIP) == []
                namespaces.ip(made.space, f"addr add {VIP}/32 dev eth0")
                await until(lambda: len(guardian.picture.vips) == 0, "its own by now")
                await asyncio.sleep(0.1)
                assert len(made.ask(VIP)) == 1

        inside(made, work)


def test_addresses_are_followed_as_they_come_and_go(tmp_path: Path) -> None:
    with node(VIP) as made:

        async def work() -> None:
            async with guarding(settings(tmp_path, "vips")) as (guardian, drifts):
                namespaces.ip(made.space, f"addr add {OTHER_VIP}/32 dev kube-ipvs0")
                await until(lambda: _count(guardian) == 2, "two")
                assert await asyncio.to_thread(made.ask, OTHER_VIP) == []
                namespaces.ip(made.space, f"addr del {VIP}/32 dev kube-ipvs0")
                await until(lambda: _count(guardian) == 1, "one")
                namespaces.ip(made.space, "link del kube-ipvs0")
                await until(lambda: _count(guardian) == 0, "none")
                assert drifts == []

        inside(made, work)


def _count(guardian: Guardian) -> int:
    return len(guardian.keeper.loaded.vips) if guardian.keeper.loaded else -1


@pytest.mark.parametrize("harm", ["flush ruleset", "delete element arp strictarp vips { 192.0.2.100 }"])
def test_a_table_that_somebody_touches_is_there_again_within_two_seconds(tmp_path: Path, harm: str) -> None:
    with node(VIP) as made:

        async def work() -> None:
            async with guarding(settings(tmp_path, "vips")) as (_, drifts):
                await asyncio.sleep(1.1)
                namespaces.run(made.space, ["nft", harm])
                began = time.monotonic()
                await until(lambda: bool(drifts), "noticed")
                assert made.ask(VIP) == []
                assert time.monotonic() - began < 2
                assert drifts[0].what == "nftables table arp strictarp"
                namespaces.run(made.space, ["nft", "add table ip foreign"])
                await asyncio.sleep(1.5)
                assert len(drifts) == 1

        inside(made, work)


def test_requests_of_the_node_itself_name_its_own_address(tmp_path: Path) -> None:
    """A packet from a Service IP to a neighbour that is not known: who-has, told by whom?"""
    with node(VIP, OTHER_VIP) as made:

        def senders(last: int) -> set[str]:
            made.heard(0.01)
            for source in (VIP, OTHER_VIP, NODE):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind((source, 0))
                    sock.sendto(b"x", (f"192.0.2.{last}", 9))
                last += 1
            frames = [decode(raw) for raw in made.heard()]
            return {socket.inet_ntoa(each.sender_ip) for each in frames if each.operation == 1}

        async def work() -> None:
            assert senders(30) == {VIP, OTHER_VIP, NODE}
            async with guarding(settings(tmp_path, "vips")):
                assert senders(40) == {NODE}

        inside(made, work)


def test_five_thousand_service_ips_and_one_more(tmp_path: Path) -> None:
    with node() as made:
        many = [f"addr add 10.96.{i >> 8}.{i & 255}/32 dev kube-ipvs0" for i in range(5000)]
        namespaces.ip(made.space, *many)

        async def work() -> None:
            began = time.monotonic()
            async with guarding(settings(tmp_path, "vips")) as (guardian, _):
                print(f"5,000 Service IPs loaded {time.monotonic() - began:.2f} s after the start")
                await asyncio.sleep(1.2)
                transactions = guardian.keeper.transactions
                namespaces.ip(made.space, f"addr add {VIP}/32 dev kube-ipvs0")
                seconds = await until(lambda: _count(guardian) == 5001, "the new one")
                print(f"one more after {seconds * 1000:.0f} ms")
                assert guardian.keeper.transactions == transactions + 1
                assert seconds < 0.5
                assert made.ask(VIP) == []

        inside(made, work)
