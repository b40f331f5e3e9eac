"""`strictarp speaker`: the daemon that answers ARP for the addresses its node owns."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import click

from strictarp.errors import UserError

if TYPE_CHECKING:
    from strictarp.speaker.settings import Settings

_MILLISECONDS = click.IntRange(1, 60_000)


@click.group(invoke_without_command=True)
@click.option(
    "--kubeconfig", default=None, metavar="FILE", help="Without it: the service account of the pod."
)
@click.option("--node-name", default=None, metavar="NODE", help="Name of this Node.  [default: host name]")
@click.option(
    "--namespace", default="metallb-system", show_default=True, help="Where pools, Leases and the key are."
)
@click.option(
    "--lb-class", default="", metavar="CLASS", help="Serve Services of this loadBalancerClass only."
)
@click.option(
    "--ignore-exclude-lb", is_flag=True, help="Announce from nodes excluded from load balancers too."
)
@click.option("--cordoned-last", is_flag=True, help="Cordoned nodes come after all others.")
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
    "--port", default=7472, show_default=True, type=click.IntRange(0, 65535), help="Metrics; 0: none."
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    kubeconfig: str | None,
    node_name: str | None,
    namespace: str,
    lb_class: str,
    *,
    ignore_exclude_lb: bool,
    cordoned_last: bool,
    port: int,
    **intervals: int,
) -> int | None:
    """Answer ARP for the load balancer addresses that this node owns.

    Without a subcommand it is the daemon. On SIGTERM it hands its addresses over and ends with 0.

    \b
    Example:
      strictarp speaker --kubeconfig /etc/strictarp/kubeconfig --node-name node1
    """
    if ctx.invoked_subcommand is not None:
        return None
    from strictarp.speaker import candidates, daemon

    options = daemon.Options(
        kubeconfig,
        node_name or socket.gethostname().lower(),
        _settings(**intervals),
        namespace,
        candidates.Options(lb_class, ignore_exclude_lb, cordoned_last),
        port,
    )
    return daemon.run(options)


def _settings(hello_ms: int, claim_ms: int, late_ms: int) -> Settings:
    """The protocol's settings; what depends on the time of a claim grows and shrinks with it."""
    from strictarp.speaker.settings import MS, Settings

    claim = claim_ms * MS
    try:
        return Settings(
            hello=hello_ms * MS,
            claim=claim,
            late=late_ms * MS,
            accept=claim * 6 // 10,
            offer=claim * 15 // 100,
        )
    except ValueError as error:
        raise UserError(f"--hello-ms, --claim-ms, --late-ms: {error}") from None
