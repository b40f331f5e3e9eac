"""`strictarp controller`: the daemon that gives Services their addresses."""

from __future__ import annotations

import socket

import click


@click.group(invoke_without_command=True)
@click.option(
    "--kubeconfig", default=None, metavar="FILE", help="Without it: the service account of the pod."
)
@click.option("--namespace", default="metallb-system", show_default=True, help="Where the pools are.")
@click.option(
    "--lb-class", default="", metavar="CLASS", help="Serve Services of this loadBalancerClass only."
)
@click.option(
    "--identity",
    default=None,
    metavar="NAME",
    help="Holder of the Lease; must be its own in the cluster and stay over a restart.  [default: host name]",
)
@click.option(
    "--port", default=9120, show_default=True, type=click.IntRange(0, 65535), help="Metrics; 0: none."
)
@click.option(
    "--health-probe-port",
    default=17472,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="/healthz and /readyz; 0: none.",
)
@click.pass_context
def command(
    ctx: click.Context,
    kubeconfig: str | None,
    namespace: str,
    lb_class: str,
    *,
    identity: str | None,
    port: int,
    health_probe_port: int,
) -> int | None:
    """Give Services of type LoadBalancer addresses from IPAddressPools, as MetalLB's controller does.

    Without a subcommand it is the daemon; on SIGTERM it ends with 0. One of several is active, by the Lease
    strictarp-controller.

    \b
    Example:
      strictarp controller --kubeconfig /etc/strictarp/kubeconfig
    """
    if ctx.invoked_subcommand is not None:
        return None
    from strictarp.controller import daemon

    options = daemon.Options(
        kubeconfig,
        identity or socket.gethostname(),
        namespace,
        lb_class,
        metrics_port=port,
        health_port=health_probe_port,
    )
    return daemon.run(options)
