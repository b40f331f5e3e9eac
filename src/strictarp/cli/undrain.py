"""`strictarp undrain`: a node may answer again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click
import msgspec

from strictarp.cli.moving_options import Options, complete_node, moving_options, tell_result, with_api
from strictarp.cli.output import STDOUT, write_json

if TYPE_CHECKING:
    from strictarp.kube.client import Client


class Undrained(msgspec.Struct, frozen=True):
    """The result: undrained, unchanged or dry run."""

    node: str
    result: str


_SENTENCES = {
    "undrained": "may answer again; nothing moves there by that alone, see strictarp rebalance",
    "unchanged": "is not drained",
    "dry run": "would be undrained",
}


@click.command()
@click.argument("node", shell_complete=complete_node)
@moving_options
def command(node: str, **options: Unpack[Options]) -> int:
    """End `strictarp drain`: the node is a candidate as before.

    It takes nothing back by itself, except what an L2Advertisement prefers to have there.

    \b
    Exit codes:
      0  the node is not drained
      1  there is no such node
      3  cannot look: no API, no permission
      64 usage error

    \b
    Example:
      strictarp undrain node3 && strictarp rebalance
    """
    undrained = with_api(options, lambda client: _undrain(client, node, dry_run=options["dry_run"]))
    if options["json_target"] is not None:
        write_json(options["json_target"], undrained)
    line = f"{node}: {_SENTENCES[undrained.result]}"
    tell_result(line, quiet=options["json_target"] == STDOUT, good=True)
    return 0


async def _undrain(client: Client, name: str, *, dry_run: bool) -> Undrained:
    from strictarp.errors import UserError
    from strictarp.kube.errors import NotFound
    from strictarp.kube.objects import NODES
    from strictarp.speaker import moving
    from strictarp.speaker.candidates import is_drained

    try:
        node = await client.get(NODES, name)
    except NotFound:
        raise UserError(f"Node {name}: there is none") from None
    if not is_drained(node):
        return Undrained(name, "unchanged")
    if dry_run:
        return Undrained(name, "dry run")
    await moving.mark(client, name, drained=False)
    return Undrained(name, "undrained")
