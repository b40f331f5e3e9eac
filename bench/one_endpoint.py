"""What one changed endpoint costs, whatever the number of Services: messages, processes, CPU time.

One endpoint of a Service goes and another comes. Counted until the one that went has drained: an addition, a
weight of 0, a look at the connections, a removal. Not counted: the question after one virtual server that the
daemon asks every two seconds, changes or not. Put off for so long: its slow comparison of everything with the
kernel. Whole daemons, each with a recorder in the place of ip_vs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from bench._recorder import GET_SERVICE, NAMES
from bench._world import Report, World, world

SIZES = (10, 1_000, 10_000)
CHANGES = 10
"""In a round, each of another Service, so that also with the fewest no two of them share a look."""
ROUNDS = 20
_STRIDE = 1_237
"""Changes go to Services far from each other."""


async def _changes(around: World, first: int = 0) -> Report:
    """What a round of changes costs a daemon, one after the other, drains included."""
    before = await around.report()
    for number in range(first, first + CHANGES):
        around.change(number * _STRIDE % around.services)
        await around.programmed()
    await around.quiet()
    return (await around.report()).since(before)


async def _messages(around: World) -> dict[str, object]:
    counts = around.recorder.counts.copy()
    used = await _changes(around)
    counts = around.recorder.counts - counts
    asked = counts.pop(NAMES[GET_SERVICE], 0)
    before = await around.report()
    around.change(1, here=True)
    await around.quiet()
    local = (await around.report()).since(before)
    return {
        "figure": "messages and processes of one changed endpoint",
        "services": around.services,
        "netlink_messages": round((used.netlink - asked) / CHANGES, 2),
        "of_them": {name: round(count / CHANGES, 2) for name, count in sorted(counts.items())},
        "processes": used.processes / CHANGES,
        "processes_when_a_set_changes": local.processes,
    }


async def _measure() -> list[dict[str, object]]:
    async with contextlib.AsyncExitStack() as stack:
        worlds = [await stack.enter_async_context(world(size, full_look="1h")) for size in SIZES]
        lines = [await _messages(each) for each in worlds]
        few, many = worlds[0], worlds[-1]
        cpu = {each.services: 0.0 for each in (few, many)}
        for turn in range(ROUNDS):
            # Both at the same time: what else the machine does slows both.
            both = await asyncio.gather(*(_changes(each, turn * CHANGES) for each in (few, many)))
            for each, used in zip((few, many), both, strict=True):
                cpu[each.services] += used.cpu + used.children_cpu
        changed = ROUNDS * CHANGES
        lines.append(
            {
                "figure": "CPU time of one changed endpoint",
                "services": [few.services, many.services],
                "milliseconds": [round(seconds / changed * 1e3, 3) for seconds in cpu.values()],
                "ratio": round(cpu[many.services] / cpu[few.services], 2),
                "to_reach": 1.2,
            }
        )
        return lines


def run() -> Iterator[dict[str, object]]:
    """One line a size, and one of CPU times."""
    yield from asyncio.run(_measure())
