"""`strictarp doctor`: what is wrong with a cluster's Layer 2, and the command that mends it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from strictarp.cli.options import access_options
from strictarp.cli.output import STDOUT, json_option, write_json
from strictarp.errors import UserError

if TYPE_CHECKING:
    from strictarp.doctor.diagnosis import Diagnosis
    from strictarp.doctor.session import Order


class Wishes(msgspec.Struct, frozen=True):
    """What the options say about where to look."""

    kubeconfig: str | None
    context: str | None
    reports: tuple[Path, ...]
    this_node: bool
    apply: bool
    print_manifest: bool
    image: str
    namespace: str
    wire: bool | None
    interface: str | None


def _where_to_look(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options of `Wishes`, as the parameter `wishes`."""

    @functools.wraps(function)
    def command(**given: Any) -> int:  # noqa: ANN401 - click hands over what the options make
        wishes = Wishes(**{field: given.pop(field) for field in Wishes.__struct_fields__})
        return function(wishes=wishes, **given)

    made: Callable[..., int] = command
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


_OPTIONS = (
    access_options,
    click.option(
        "--node-reports",
        "reports",
        multiple=True,
        type=click.Path(exists=True, path_type=Path),
        metavar="FILE|DIR",
        help="What `strictarp node-report` wrote on nodes, or the logs of its pods; may be repeated.",
    ),
    click.option("--on-this-node", "this_node", is_flag=True, help="Look at this node too, as root."),
    click.option("--apply", is_flag=True, help="Read all nodes by a DaemonSet that is deleted afterwards."),
    click.option("--print-manifest", is_flag=True, help="Print that DaemonSet for kubectl; nothing else."),
    click.option("--image", default="", metavar="IMAGE", help="For the DaemonSet: one with strictarp in it."),
    click.option(
        "--namespace", default="kube-system", show_default=True, help="Where the DaemonSet is created."
    ),
    click.option(
        "--wire/--no-wire",
        default=None,
        help="Ask by ARP who answers for each VIP.  [default: where it can be done]",
    ),
    click.option(
        "-i", "--interface", metavar="IFACE", help="Ask on this interface, not that of the route to each VIP."
    ),
)


@click.command()
@click.argument("codes", metavar="[CODE]...", nargs=-1)
@_where_to_look
@click.option("--list", "listing", is_flag=True, help="Document all codes, and do nothing else.")
@click.option("--markdown", is_flag=True, help="With --list: as the documentation has it.")
@json_option
def command(
    codes: tuple[str, ...], wishes: Wishes, *, listing: bool, markdown: bool, json_target: str | None
) -> int:
    """Find what is wrong with the ARP of a cluster's Service IPs, why it matters and what mends it.

    Looks at the API, at nodes where it is given a way to them, and at the wire where it can ask. Changes
    nothing; --apply alone creates a DaemonSet, and deletes it. What follows from a problem that is reported
    is not reported again. CODE: apply these checks only.

    \b
    Exit status: 0 clean, or notes only     1 warnings     2 errors
                 3 what was asked for could not be looked at, or nothing could
    An error counts before 3, and 3 before a warning. The API is asked for
    whenever there is a way to it; nodes and the wire if an option names them.

    \b
    Examples:
      strictarp doctor --kubeconfig ~/.kube/config
      sudo strictarp doctor --on-this-node --wire
      strictarp doctor --apply --image registry.example/strictarp:1.0
      strictarp doctor --list
    """
    if listing:
        return _list(codes, json_target, markdown=markdown)
    _check_usage(wishes, markdown=markdown)
    from strictarp.doctor import session

    if wishes.print_manifest:
        click.echo(session.print_manifest(wishes.image, wishes.namespace), nl=False)
        return 0
    diagnosis = _run(_order(codes, wishes))
    if json_target is not None:
        write_json(json_target, diagnosis)
    if json_target != STDOUT:
        from rich.console import Console

        from strictarp.cli.doctor_text import WIDTH, show

        show(diagnosis, Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH))
    return diagnosis.exit_code


def _check_usage(wishes: Wishes, *, markdown: bool) -> None:
    if markdown:
        raise click.UsageError("--markdown goes with --list")
    if wishes.apply and wishes.print_manifest:
        raise click.UsageError("give --apply or --print-manifest, not both")
    if (wishes.apply or wishes.print_manifest) and not wishes.image:
        raise click.UsageError("--image: name an image with strictarp in it, for the DaemonSet")


def _order(codes: tuple[str, ...], wishes: Wishes) -> Order:
    from strictarp.doctor import session
    from strictarp.doctor.registry import chosen
    from strictarp.kube.access import Access

    access = Access(wishes.kubeconfig, wishes.context)
    nodes_only = (wishes.this_node or bool(wishes.reports)) and not wishes.apply and not wishes.wire
    return session.Order(
        chosen(codes),
        named=bool(codes),
        cluster=not nodes_only or access.in_reach(os.environ),
        access=access,
        reports=wishes.reports,
        this_node=wishes.this_node,
        image=wishes.image if wishes.apply else "",
        namespace=wishes.namespace,
        wire=wishes.wire,
        interface=wishes.interface,
    )


def _list(codes: tuple[str, ...], json_target: str | None, *, markdown: bool) -> int:
    from strictarp.doctor import listing
    from strictarp.doctor.registry import chosen

    listed = listing.entries(chosen(codes))
    if json_target is not None:
        write_json(json_target, listed)
    else:
        lines = listing.markdown(listed) if markdown else listing.plain(listed)
        click.echo("\n".join(lines), nl=False)
    return 0


def _run(order: Order) -> Diagnosis:
    """With progress on a terminal in one line that changes, else a line for each step. Raises UserError."""
    import asyncio

    from strictarp.doctor import session
    from strictarp.doctor.diagnosis import EXIT_CANNOT_LOOK

    try:
        if not sys.stderr.isatty():
            return asyncio.run(session.run(order, _teller()))
        from rich.console import Console
        from rich.text import Text

        with Console(stderr=True).status("looking …") as status:
            return asyncio.run(session.run(order, lambda line: status.update(Text(line))))
    except UserError as error:
        raise UserError(str(error), max(error.exit_code, EXIT_CANNOT_LOOK)) from error


def _teller() -> Callable[[str], None]:
    """Lines for a log: each step once, however often it is told."""
    told: set[str] = set()

    def tell(line: str) -> None:
        step = line.partition(":")[0]
        if step not in told:
            told.add(step)
            click.echo(line, err=True)

    return tell
