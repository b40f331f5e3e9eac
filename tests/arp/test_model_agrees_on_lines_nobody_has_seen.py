"""`explain --cases` on random lines, typed into the running kernel: setups of all kinds, in odd spellings.

STRICTARP_CASES sets how many hosts (each has 6 lines), STRICTARP_SEED where to begin.
"""

import os
import random

import pytest

from support.case_kernel import Tally, run_many
from support.near_tools import bring_near
from support.segment import needs_root

HOSTS = int(os.environ.get("STRICTARP_CASES", "60"))
HERE = frozenset({"bridge", "macvlan", "ifb"})
"""Kinds that any kernel which runs containers can make."""
IN_THE_VM = HERE | {"dummy", "vlan", "bond", "vrf", "ipvlan"}


def compared(hosts: int, kinds: frozenset[str]) -> Tally:
    seed = int(os.environ.get("STRICTARP_SEED") or random.SystemRandom().randrange(1 << 40))
    print(f"seed {seed}")
    tally = run_many(seed, hosts, kinds)
    print(f"{tally.hosts} hosts, {tally.lines} lines, {tally.answered} answered, {tally.skipped} skipped")
    print(f"{tally.refused} commands refused, not understood: {tally.unsupported}")
    assert tally.disagreements == [], f"from seed {seed} on"
    assert tally.unread == 0
    return tally


@needs_root
@pytest.mark.netns
@pytest.mark.timeout(3600)
def test_lines_are_judged_as_the_kernel_decides() -> None:
    tally = compared(HOSTS, HERE)
    assert tally.hosts > 0.9 * HOSTS
    # Nothing is proved by hosts that only ever stay silent, nor by lines that are not understood.
    assert 0.1 < tally.answered / tally.lines < 0.9
    assert sum(tally.unsupported.values()) < 0.05 * tally.lines


@pytest.mark.vm
@pytest.mark.timeout(3600)
def test_lines_are_judged_as_the_kernel_of_the_vm_decides() -> None:
    bring_near("ip", "nft", "tc", "bash")
    assert compared(int(os.environ.get("STRICTARP_CASES", "6")), IN_THE_VM).lines > 0
