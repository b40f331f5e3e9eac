"""`strictarp speaker`: the daemon that answers ARP and NDP for the addresses its node owns."""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strictarp.cli.judging import judging_options
from strictarp.cli.options import objects_option
from strictarp.errors import UserError

if TYPE_CHECKING:
    from strictarp.speaker.settings import Settings

_MILLISECONDS = click.IntRange(1, 60_000)


@click.group(invoke_without_command=True)
@click.option(
    "--kubeconfig", default=None, metavar="FILE", help="Without it: the service account of the pod."
)
@click.option("--node-name", default=None, metavar="NODE", help="Name of this Node.  [default: host name]")
@judging_options
@click.option(
    "--hello-ms", type=_MILLISECONDS, default=100, show_default=True, help="Interval of the hellos."
)
@click.option(
    "--claim-ms", type=_MILLISECONDS, default=100, show_default=True, help="How long a claim asks the wire."
)
@click.option(
    "--late-ms",
    type=_MILLISECONDS,
    default=20,
    show_default=True,
    help="How late the end of a claim may be noticed; later, it starts again.",
)
@click.option(
    "--season-ms",
    type=click.IntRange(1, 3_600_000),
    default=30_000,
    show_default=True,
    help="How long a node has to be there without a gap before it is as good as the others.",
)
@click.option(
    "--refresh",
    default=0,
    show_default=True,
    type=click.IntRange(0, 86_400),
    metavar="S",
    help="Announce each own address again every S seconds; 0: only when it was taken over.",
)
@click.option(
    "--answer",
    type=click.Choice(["auto", "kernel", "process"]),
    default="auto",
    show_default=True,
    help="Who answers ARP: the kernel for this process, this process, or the kernel where it can.",
)
@click.option(
    "--port", default=7472, show_default=True, type=click.IntRange(0, 65535), help="Metrics; 0: none."
)
@click.pass_context
def command(  # noqa: PLR0913 - its options
    ctx: click.Context,
    /,
    kubeconfig: str | None,
    node_name: str | None,
    namespace: str,
    lb_class: str,
    *,
    ignore_exclude_lb: bool,
    cordoned_last: bool,
    answer: str,
    port: int,
    **intervals: int,
) -> int | None:
    """Answer ARP and NDP for the load balancer addresses that this node owns.

    Without a subcommand it is the daemon. On SIGTERM it hands its addresses over and ends with 0.

    \b
    Examples:
      strictarp speaker --kubeconfig /etc/strictarp/kubeconfig --node-name node1
      strictarp speaker plan --objects objects/ --alive node1,node2
    """
    if ctx.invoked_subcommand is not None:
        return None
    from strictarp.speaker import candidates, daemon
    from strictarp.speaker.kernel_answers import Who

    options = daemon.Options(
        kubeconfig,
        node_name or socket.gethostname().lower(),
        _settings(**intervals),
        namespace,
        candidates.Options(lb_class, ignore_exclude_lb, cordoned_last),
        port,
        Who(answer),
    )
    return daemon.run(options)


def _settings(hello_ms: int, claim_ms: int, late_ms: int, *, season_ms: int, refresh: int) -> Settings:
    """The protocol's settings; what depends on the time of a claim grows and shrinks with it."""
    from strictarp.speaker.settings import MS, SECOND, Settings

    claim = claim_ms * MS
    try:
        return Settings(
            hello=hello_ms * MS,
            claim=claim,
            late=late_ms * MS,
            accept=claim * 6 // 10,
            offer=claim * 15 // 100,
            season=season_ms * MS,
            refresh=refresh * SECOND,
        )
    except ValueError as error:
        raise UserError(f"--hello-ms, --claim-ms, --late-ms: {error}") from None


@command.command(name="plan")
@objects_option("Services, EndpointSlices, Nodes, pools and L2Advertisements")
@click.option("--alive", required=True, metavar="NODE,NODE…", help="The nodes with a living speaker.")
@click.option("--self", "node", default=None, metavar="NODE", help="Say what this node would do, and why.")
@click.option(
    "--owner", "owners", multiple=True, metavar="IP=NODE", help="Who owns an address now; may be repeated."
)
@judging_options
def plan_command(
    paths: tuple[Path, ...],
    alive: str,
    node: str | None,
    owners: tuple[str, ...],
    *,
    namespace: str,
    lb_class: str,
    ignore_exclude_lb: bool,
    cordoned_last: bool,
) -> int:
    """Print as JSON which node would announce each address for these objects, and why the others would not.

    Needs no API server and changes nothing. Exit 1 when pools or advertisements are wrong: `errors` says how.

    \b
    Example: who takes over when node1 dies?
      strictarp speaker plan --objects objects/ --alive node2,node3
    """
    from strictarp.controller.pools import parse_pools
    from strictarp.kube.custom import IPAddressPool
    from strictarp.kube.documents import decode, of_type, read_documents
    from strictarp.speaker import candidates, planning

    situation = planning.Situation(
        frozenset(name for name in (part.strip() for part in alive.split(",")) if name),
        dict(_owner(text) for text in owners),
        node,
        namespace,
        candidates.Options(lb_class, ignore_exclude_lb, cordoned_last),
    )
    objects, unreadable = decode(read_documents(paths), planning.RESOURCES, namespace=namespace)
    for each in unreadable:
        if each.kind not in ("IPAddressPool", "L2Advertisement"):
            click.echo(f"warning: left out: {each}", err=True)
    pools = [each for each in of_type(objects, IPAddressPool) if each.metadata.namespace == namespace]
    # Speakers put up with pools that the controller refuses, say for an overlap; people want to know.
    _, refused = parse_pools(pools)
    plan = planning.make_plan(objects, unreadable, situation)
    told = planning.document(plan) | {"errors": list(dict.fromkeys((*plan.errors, *refused)))}
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    return 1 if told["errors"] else 0


def _owner(text: str) -> tuple[str, str]:
    address, equals, node = text.partition("=")
    try:
        if not (equals and node):
            raise ValueError
        return str(ipaddress.ip_address(address)), node
    except ValueError:
        raise click.UsageError(f"--owner: {text!r} is not of the form IP=NODE.") from None
