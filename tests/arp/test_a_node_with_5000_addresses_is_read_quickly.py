"""facts and preflight on a node with 5,000 Service IPs: whole processes, in time and memory of their own.

By CPU time, which a busy machine lengthens less than the clock; `python -m bench node_facts` tells both.
"""

import pytest
from bench.node_facts import COMMANDS, measured, node

from support.segment import needs_root

CPU_SECONDS, MEGABYTES = 4.0, 100.0
"""The promise is 2 s; test machines are slow and shared."""


@needs_root
@pytest.mark.netns
@pytest.mark.timeout(120)
def test_it_takes_seconds_and_less_than_100_megabytes() -> None:
    space = node(5000, pods=20)
    for words in COMMANDS:
        _, cpu, memory = measured(space, *words)
        assert cpu < CPU_SECONDS, words
        assert memory < MEGABYTES, words
    space.close()
