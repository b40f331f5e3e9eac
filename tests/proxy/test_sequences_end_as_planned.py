"""Random sequences of changes, losses, refusals, restarts and kills end in exactly what the plan says.

STRICTARP_SEQUENCES says how many seeds are played, STRICTARP_SEQUENCE_SEED plays one again (seeds count
from 0). The same seeds are played on models of IPVS, rtnetlink and nft, and in the virtual machine on the
kernel.
"""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from strictarp.lab import namespaces
from support.lib_nft import LibNft
from support.machine import Machine, ModelMachine, real_machine
from support.sequence_player import Player
from support.sequences import sequence

PARTS = 4
"""So that several processes of pytest share the work."""


def _seeds(default: int) -> range:
    """What the environment asks for, or the first few."""
    if one := os.environ.get("STRICTARP_SEQUENCE_SEED"):
        return range(int(one), int(one) + 1)
    first = int(os.environ.get("STRICTARP_SEQUENCES_FROM", "0"))
    return range(first, first + int(os.environ.get("STRICTARP_SEQUENCES", str(default))))


def _play(seed: int, machine: Machine) -> Player:
    player = Player(machine, sequence(seed))
    try:
        asyncio.run(player.play())
    except BaseException as failure:
        failure.add_note(f"seed {seed}: STRICTARP_SEQUENCE_SEED={seed} plays it again")
        raise
    return player


@pytest.mark.parametrize("part", range(PARTS))
def test_any_sequence_ends_in_exactly_what_the_plan_says(part: int) -> None:
    for seed in _seeds(120)[part::PARTS]:
        _play(seed, ModelMachine())


def test_a_sequence_is_the_same_whenever_its_seed_is() -> None:
    assert sequence(17) == sequence(17)
    assert sequence(17) != sequence(18)


@contextlib.contextmanager
def _space() -> Iterator[Machine]:
    """The kernel, in a namespace of its own."""
    space = namespaces.create("sequences")
    with namespaces.entered(space):
        nft = LibNft()
        machine = real_machine(nft)
        yield machine
        machine.close()
        nft.close()
    space.close()


@pytest.mark.vm
@pytest.mark.timeout(900)
def test_the_kernel_ends_in_exactly_what_the_plan_says_too() -> None:
    for module in ("ip_vs", "dummy", "nf_tables", "nft_masq", "nft_chain_nat", "nf_conntrack_netlink"):
        subprocess.run(["modprobe", module], check=False)
    for seed in _seeds(10):
        began = time.monotonic()
        with _space() as machine:
            player = _play(seed, machine)
        seconds = time.monotonic() - began
        print(f"seed {seed}: {player.processes} processes, {seconds:.1f} s", flush=True)
