"""Random hosts in namespaces: the kernel and the model must agree on every frame, entry and sender.

STRICTARP_HOSTS sets how many, STRICTARP_SEED where to begin: a disagreement is told with its seed.
"""

import os
import random

import pytest

from support.arp_kernel import Tally, run_many
from support.near_tools import bring_near
from support.segment import needs_root

HOSTS = int(os.environ.get("STRICTARP_HOSTS", "300"))


def compared(hosts: int) -> Tally:
    seed = int(os.environ.get("STRICTARP_SEED") or random.SystemRandom().randrange(1 << 40))
    print(f"seed {seed}")
    tally = run_many(seed, hosts)
    print(f"{tally.hosts} hosts, {tally.built} of them built by the model too, {tally.frames} frames,")
    print(f"{tally.answered} answered, {tally.senders} senders, {len(tally.disagreements)} disagreements")
    print(tally.rules)
    assert tally.disagreements == [], f"from seed {seed} on"
    return tally


@needs_root
@pytest.mark.netns
@pytest.mark.timeout(3600)
def test_the_model_and_the_kernel_agree_on_random_hosts() -> None:
    tally = compared(HOSTS)
    assert tally.hosts == HOSTS
    if HOSTS >= 100:
        # Nothing is proved by hosts that only ever stay silent, or never.
        assert 0.1 < tally.answered / tally.frames < 0.9
        assert len(tally.rules) > 20


@pytest.mark.vm
@pytest.mark.timeout(3600)
def test_the_model_and_the_kernel_of_the_vm_agree_on_random_hosts() -> None:
    bring_near("ip", "nft")
    assert compared(int(os.environ.get("STRICTARP_HOSTS", "50"))).frames > 0
