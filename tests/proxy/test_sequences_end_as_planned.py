"""Random sequences of changes, losses, refusals, restarts and kills end in exactly what the plan says.

STRICTARP_SEQUENCES says how many seeds are played, STRICTARP_SEQUENCE_SEED plays one again (seeds count
from 0). The same seeds are played on models of IPVS, rtnetlink and nft, and in the virtual machine on the
kernel.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

import pytest

from strictarp.lab import namespaces
from support.lib_nft import LibNft
from support.machine import Machine, ModelMachine, Nft, half_real_machine, load_modules, real_machine
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
    for seed in _seeds(100)[part::PARTS]:
        _play(seed, ModelMachine())


def test_a_sequence_is_the_same_whenever_its_seed_is() -> None:
    assert sequence(17) == sequence(17)
    assert sequence(17) != sequence(18)


def _play_on_the_kernel(seeds: range, make: Callable[[Nft], Machine]) -> None:
    """Each in a network namespace of its own."""
    for seed in seeds:
        began = time.monotonic()
        space = namespaces.create("sequences")
        with (
            namespaces.entered(space),
            contextlib.closing(LibNft()) as nft,
            contextlib.closing(make(nft)) as machine,
        ):
            player = _play(seed, machine)
        space.close()
        seconds = time.monotonic() - began
        print(f"seed {seed}: {player.processes} processes, {seconds:.1f} s", flush=True)


@pytest.mark.netns
def test_nft_and_addresses_of_the_running_kernel_end_in_exactly_what_the_plan_says() -> None:
    _play_on_the_kernel(_seeds(6), half_real_machine)


@pytest.mark.vm
@pytest.mark.timeout(900)
def test_the_whole_kernel_ends_in_exactly_what_the_plan_says() -> None:
    load_modules()
    _play_on_the_kernel(_seeds(10), real_machine)
