"""What `explain` offers is carried out on the kernel: the answer must come, or cease."""

import random

import msgspec
import pytest

from strictarp.arp.cases import Pkt, packet_of
from strictarp.arp.remedies import turning
from strictarp.cli.facts import read_node
from strictarp.lab import namespaces
from support.arp_kernel import Wire, node
from support.case_kernel import ask, set_up
from support.random_cases import make
from support.segment import needs_root

KINDS = frozenset({"bridge", "macvlan", "ifb"})
TRIED = 20


@needs_root
@pytest.mark.netns
@pytest.mark.timeout(300)
def test_each_change_that_is_offered_turns_the_kernel_round() -> None:
    seed = random.SystemRandom().randrange(1 << 40)
    print(f"seed {seed}")
    wire = Wire()
    tried = 0
    failed = []
    number = seed
    while tried < TRIED:
        number += 1
        rng = random.Random(number)
        case, frames = make(number, KINDS)
        frame = frames[0]
        wire.number += 1
        with node() as space:
            done, _ = set_up(space, case, wire, KINDS)
            if not done or "tc filter" in str(done) or "nexthop" in str(done) or "bridge" in str(done):
                continue
            with namespaces.entered(space):
                facts, _ = read_node()
            packet = packet_of(facts, frame["in"], msgspec.convert(frame, Pkt))
            offered = turning(facts, frame["in"], packet)
            before = ask(space, case, [frame], wire, settle=0.0)[0]
            if not offered:
                continue
            commands = rng.choice(offered).commands
            for command in commands:
                namespaces.run(space, command.split())
            after = ask(space, case, [frame], wire, settle=0.0)[0]
            if bool(before) == bool(after):
                after = ask(space, case, [frame], wire, settle=1.2)[0]
        tried += 1
        if bool(before) == bool(after):
            failed.append(f"seed {number}: {commands} {frame} {done}")
    wire.close()
    assert failed == []
