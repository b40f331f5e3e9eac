"""`strictarp drain`: hand over all that a node answers for, and keep it free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click
import msgspec

from strictarp.cli.moving_options import (
    Options,
    complete_node,
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


class Drained(msgspec.Struct, frozen=True):
    """The result. had: addresses that the node answered for. left: those that it still does, and why."""

    node: str
    result: str
    had: tuple[str, ...]
    left: dict[str, str]
    seconds: float = 0.0


@click.command()
@click.argument("node", shell_complete=complete_node)
@timeout_option(120.0, "Seconds until the node must be free.")
@moving_options
def command(node: str, *, timeout: float, **options: Unpack[Options]) -> int:
    """Hand over what a node answers for, and keep it free until `strictarp undrain`.

    Marks the Node (annotation strictarp.io/drain): its speaker hands each address over to another candidate
    that is ready, and it comes last in every election, also after a restart. It gives nothing up that nobody
    else can take: what stays is named. The mark remains when the time is over. Not needed before a speaker
    is stopped (SIGTERM drains by itself), but then nothing comes back to the node before it is wanted.

    \b
    Exit codes:
      0  the node answers for no Service any more
      1  there is no such node, or something stays there
      3  cannot look: no API, no permission
      64 usage error

    \b
    Examples:
      strictarp drain node3
      strictarp drain node3 --dry-run
    """
    drained = with_api(options, lambda client: _drain(client, node, timeout, options))
    if options["json_target"] is not None:
        write_json(options["json_target"], drained)
    good = not drained.left or drained.result == "dry run"
    tell_result(_sentence(drained), quiet=options["json_target"] == STDOUT, good=good)
    return 0 if good else 1


async def _drain(client: Client, node: str, limit: float, options: Options) -> Drained:
    from strictarp.errors import UserError
    from strictarp.speaker import moving, scene

    place = where(options)
    seen = await moving.read_scene(client, place)
    if node not in seen.nodes:
        raise UserError(
            f"Node {node}: there is none; the nodes are {', '.join(sorted(seen.nodes)) or 'none'}"
        )
    mine = [each for each in scene.units(seen) if node in {seen.owners.get(ip) for ip in each.addresses}]
    had = tuple(ip for each in mine for ip in each.addresses if seen.owners.get(ip) == node)
    stays = {each: why for each in mine if (why := scene.stuck(seen, each, node)) is not None}
    reasons = {ip: why for each, why in stays.items() for ip in each.addresses}
    for each, why in stays.items():
        tell(f"{', '.join(each.addresses)}: stays: {why}")
    if options["dry_run"]:
        return Drained(node, "dry run", had, reasons)
    await moving.mark(client, node, drained=True)
    expected = {*reasons, *(key for each in stays for key in each.services)}
    left, seconds = await moving.empty(client, place, node, expected, limit=limit, tell=tell)
    late = f"not taken over within {limit:g} s"
    return Drained(
        node,
        "drained" if not left else "stays",
        had,
        {each: reasons.get(each, late) for each in left},
        seconds,
    )


def _sentence(drained: Drained) -> str:
    many = f"{len(drained.had)} address{'es' if len(drained.had) != 1 else ''}"
    if drained.result == "dry run":
        stay = f", {len(drained.left)} would stay" if drained.left else ""
        return f"{drained.node}: answers for {many}: would be drained{stay}"
    if not drained.left:
        return f"{drained.node}: drained of {many} in {drained.seconds:g} s"
    reasons = "; ".join(f"{each}: {why}" for each, why in sorted(drained.left.items())[:20])
    return f"{drained.node}: still answers for {len(drained.left)} ({reasons}); it stays marked as drained"
