"""`strictarp move`: hand a Service's addresses over to a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from strictarp.cli.moving_options import (
    Options,
    complete_node,
    complete_service,
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
    from strictarp.speaker.moving import Moved


@click.command()
@click.argument("service", metavar="SERVICE|IP", shell_complete=complete_service)
@click.option(
    "--to", required=True, metavar="NODE", shell_complete=complete_node, help="Who is to have them."
)
@timeout_option(60.0, "Seconds until the move must be seen; a node that has just started takes 30.")
@moving_options
def command(service: str, to: str, *, timeout: float, **options: Unpack[Options]) -> int:
    """Hand the addresses of a Service over to a node, without a moment that nobody or two answer.

    SERVICE is NAMESPACE/NAME (without a namespace: default) or one of its addresses. All addresses of the
    Service go, and Services that share one go with it. The owner hands over as soon as that node is ready;
    the command waits until the status objects show it. If that takes too long, the wish is taken back.

    \b
    Exit codes:
      0  that node answers for all of the addresses
      1  refused: no candidate, drained, or another node is preferred; or not seen in time
      3  cannot look: no API, no permission
      64 usage error

    \b
    Examples:
      strictarp move shop/web --to node2
      strictarp move 192.0.2.100 --to node2 --dry-run
    """
    moved = with_api(options, lambda client: _move(client, service, to, timeout, options))
    if options["json_target"] is not None:
        write_json(options["json_target"], moved)
    good = moved.result != "not seen"
    tell_result(sentence(moved), quiet=options["json_target"] == STDOUT, good=good)
    return 0 if good else 1


async def _move(client: Client, text: str, to: str, limit: float, options: Options) -> Moved:
    from strictarp.errors import UserError
    from strictarp.speaker import moving, scene

    place = where(options)
    seen = await moving.read_scene(client, place)
    unit = scene.find_unit(seen, text)
    why = scene.refused(seen, unit, to)
    if why is not None:
        raise UserError(why)
    owners = {each: seen.owners.get(each, "") for each in unit.addresses}
    if set(owners.values()) == {to}:
        return moving.Moved(unit.services, unit.owner, to, "unchanged", 0.0, owners)
    if not unit.owner:
        raise UserError(
            f"{', '.join(unit.addresses)}: nobody announces that yet, so there is nothing to move"
        )
    if len(unit.services) > 1:
        tell(f"{', '.join(unit.services)} share an address and move together")
    if options["dry_run"]:
        return moving.Moved(unit.services, unit.owner, to, "dry run", 0.0, owners)
    tell(f"{', '.join(unit.addresses)}: {unit.owner} -> {to}")
    return await moving.move(client, place, unit, to, limit=limit)


def sentence(moved: Moved) -> str:
    """What became of it."""
    addresses = ", ".join(moved.owners)
    match moved.result:
        case "unchanged":
            return f"{addresses}: {moved.to} answers already"
        case "dry run":
            return f"{addresses}: would go from {moved.source} to {moved.to}"
        case "moved":
            return f"{addresses}: {moved.to} answers, after {moved.seconds:g} s"
    now = ", ".join(f"{address}: {node or 'nobody'}" for address, node in moved.owners.items())
    return (
        f"{moved.to} has not taken over within {moved.seconds:g} s ({now}), and the wish is taken back; "
        "a node takes over once its speaker is seasoned, 30 s after its start, longer after failures: "
        "see its log and the metric strictarp_speaker_peer_live"
    )
