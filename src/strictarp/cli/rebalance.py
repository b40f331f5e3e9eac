"""`strictarp rebalance`: even the addresses out over the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click
import msgspec

from strictarp.cli.move import sentence
from strictarp.cli.moving_options import (
    Options,
    moving_options,
    tell,
    tell_result,
    timeout_option,
    where,
    with_api,
)
from strictarp.cli.output import STDOUT, write_json

if TYPE_CHECKING:
    from strictarp.kube.client import Client
    from strictarp.speaker.balance import Plan, Step
    from strictarp.speaker.moving import Moved


class Rebalanced(msgspec.Struct, frozen=True):
    """The result. before, after: node → addresses; after: by the plan."""

    result: str
    before: dict[str, int]
    after: dict[str, int]
    moves: tuple[Moved, ...]


@click.command()
@timeout_option(60.0, "Seconds that each move may take.")
@click.option(
    "--every",
    type=click.FloatRange(min=0, max=3600),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds from the start of one move to that of the next, at least.",
)
@moving_options
def command(timeout: float, every: float, **options: Unpack[Options]) -> int:
    """Even out the addresses over the nodes, with as few moves as that takes.

    Each Service goes only to nodes that are as good for it as any other: of the highest weight, Ready, not
    drained, with a link for all of its addresses. The plan is shown, then carried out, one move after
    another. The first one that fails ends it.

    \b
    Exit codes:
      0  as even as it can be
      1  a move was not seen in time
      3  cannot look: no API, no permission
      64 usage error

    \b
    Examples:
      strictarp rebalance --dry-run
      strictarp rebalance --every 5
    """
    done = with_api(options, lambda client: _rebalance(client, timeout, every, options))
    if options["json_target"] is not None:
        write_json(options["json_target"], done)
    good = done.result != "stopped"
    line = {
        "even": "as even as it can be: nothing to move",
        "dry run": f"{len(done.moves)} moves would be made",
        "moved": f"moved {len(done.moves)}",
        "stopped": f"stopped after {len(done.moves)} moves: {sentence(done.moves[-1]) if done.moves else ''}",
    }[done.result]
    tell_result(line, quiet=options["json_target"] == STDOUT, good=good)
    return 0 if good else 1


async def _rebalance(client: Client, limit: float, every: float, options: Options) -> Rebalanced:
    import asyncio

    from strictarp.speaker import moving, scene
    from strictarp.speaker.balance import balance

    place = where(options)
    plan = balance(scene.units(await moving.read_scene(client, place)))
    before, after = dict(plan.before), dict(plan.after)
    for line in _lines(plan):
        tell(line)
    if not plan.steps:
        return Rebalanced("even", before, after, ())
    if options["dry_run"]:
        planned = (
            moving.Moved(step.unit.services, step.unit.owner, step.to, "dry run", 0.0,
                         dict.fromkeys(step.unit.addresses, step.unit.owner))
            for step in plan.steps
        )  # fmt: skip
        return Rebalanced("dry run", before, after, tuple(planned))
    moves: list[Moved] = []
    for number, step in enumerate(plan.steps, 1):
        pause = asyncio.create_task(asyncio.sleep(every if number < len(plan.steps) else 0))
        moves.append(await moving.move(client, place, step.unit, step.to, limit=limit))
        tell(f"{number}/{len(plan.steps)} {sentence(moves[-1])}")
        if moves[-1].result != "moved":
            pause.cancel()
            return Rebalanced("stopped", before, after, tuple(moves))
        await pause
    return Rebalanced("moved", before, after, tuple(moves))


def _lines(plan: Plan) -> list[str]:
    """The plan for people: the loads, then each move."""
    loads = [f"{node}: {count} -> {plan.after[node]}" for node, count in plan.before.items()]
    return [f"addresses: {', '.join(loads)}", *map(_line, plan.steps)] if loads else []


def _line(step: Step) -> str:
    unit = step.unit
    return f"  {', '.join(unit.addresses)} ({', '.join(unit.services)}): {unit.owner} -> {step.to}"
