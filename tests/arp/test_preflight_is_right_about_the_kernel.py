"""Preflight predicts, then strictARP is really switched: the kernel must lose what was predicted, no more."""

import random
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import msgspec
import pytest

from strictarp.arp.explaining import assumed_asker
from strictarp.arp.facts import Host, dotted
from strictarp.arp.losses import sample_of
from strictarp.arp.nft_text import text_of
from strictarp.arp.preflight import preflight
from strictarp.arp.switching import Scope, switched
from strictarp.cli.facts import read_node
from strictarp.lab import namespaces
from strictarp.sysctl.effective import strictarp_writes
from support.arp_kernel import Wire, ask, build, node
from support.random_hosts import Dev, Frame, RandomHost, make
from support.segment import needs_root

HOSTS = 10


def with_vips(host: RandomHost, rng: random.Random) -> RandomHost:
    """The host with kube-ipvs0, before or behind its NICs, and Service IPs on it."""
    device = Dev("kube-ipvs0", "dummy", "02:00:00:00:01:60", up=False, arp=False)
    devices = (device, *host.devices) if rng.random() < 0.5 else (*host.devices, device)
    held = [f"ip addr add {address}/32 dev kube-ipvs0" for address in ("10.0.0.240", "192.0.2.241")]
    return msgspec.structs.replace(host, devices=devices, commands=(*host.commands, *held))


def questions(host: RandomHost, facts: Host) -> tuple[Frame, ...]:
    """Every local address on every NIC, as preflight asks: 127/8 too where it is routed."""
    targets = [(address, prefix) for address, prefix, _ in facts.targets]
    targets += [(address, 32) for address in facts.vips]
    frames = []
    for nic in host.nics:
        loopback = [(0x7F000000, 8)] if facts.conf("route_localnet", nic.name) else []
        for address, prefix in targets + loopback:
            target = address if prefix == 32 else sample_of(facts, address, prefix)
            frames.append(Frame(nic.name, dotted(assumed_asker(facts, nic.name, target)), dotted(target)))
    return tuple(dict.fromkeys(frames))


def predicted(facts: Host, scope: Scope, uplinks: tuple[str, ...]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for loss in preflight(facts, scope, uplinks).losses:
        if loss.count > 1:
            found |= {(loss.interface, dotted(vip)) for vip in facts.vips}
        elif "/" in loss.target:
            network = IPv4Network(loss.target)
            sample = sample_of(facts, int(network.network_address), network.prefixlen)
            found.add((loss.interface, dotted(sample)))
        else:
            found.add((loss.interface, loss.target))
    return found


def settle(host: RandomHost, wire: Wire) -> set[tuple[str, str]]:
    """What is answered: asked until two rounds agree, for a link may need a moment."""
    rounds: list[set[tuple[str, str]]] = []
    for pause in (0.0, 0.1, 0.5, 1.0, 1.5):
        answers = ask(host, wire, pause)
        pairs = zip(host.frames, answers, strict=True)
        rounds.append({(frame.device, frame.tip) for frame, found in pairs if found})
        if len(rounds) > 1 and rounds[-1] == rounds[-2]:
            break
    return rounds[-1]


def switch(facts: Host, scope: Scope, uplinks: tuple[str, ...]) -> None:
    """Really, in the namespace that this thread is in: sysctls, or the table that the model foresees."""
    if scope is Scope.VIPS:
        script = text_of(switched(facts, scope, uplinks).nft)
        subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)
        return
    for name in ("all",) if scope is Scope.ALL else uplinks:
        conf = Path("/proc/sys/net/ipv4/conf", name)
        old = [int((conf / key).read_text()) for key in ("arp_ignore", "arp_announce")]
        for key, value in strictarp_writes(*old).items():
            (conf / key).write_text(str(value))


@needs_root
@pytest.mark.netns
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scope", Scope)
def test_the_kernel_loses_what_was_predicted(scope: Scope) -> None:
    seed = random.SystemRandom().randrange(1 << 40)
    print(f"seed {seed}")
    wire = Wire()
    lost_at_all = 0
    for number in range(seed, seed + HOSTS):
        rng = random.Random(number)
        host = with_vips(make(rng, frozenset()), rng)
        host = msgspec.structs.replace(host, nft="")
        uplinks = tuple(device.name for device in host.nics if rng.random() < 0.7) or ("e0",)
        wire.number += 1
        with node() as space:
            build(space, host, wire, standin="bridge")
            with namespaces.entered(space):
                facts, _ = read_node()
            host = msgspec.structs.replace(host, frames=questions(host, facts))
            before = settle(host, wire)
            with namespaces.entered(space):
                switch(facts, scope, uplinks)
            lost = before - settle(host, wire)
        # A host's VIPs are judged by one of them: only where all share its fate is the line exact.
        vips = {dotted(vip) for vip in facts.vips}
        guess = predicted(facts, scope, uplinks)
        assert {pair for pair in lost if pair[1] not in vips} == {
            pair for pair in guess if pair[1] not in vips
        }, f"seed {number}"
        if scope is Scope.VIPS:
            assert {pair for pair in lost if pair[1] not in vips} == set()
            assert {name for name, _ in lost} <= set(uplinks)
        lost_at_all += len(lost)
    wire.close()
    assert lost_at_all > 0
