"""`strictarp controller`: the daemon that gives Services their addresses."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strictarp.cli.options import objects_option

if TYPE_CHECKING:
    from strictarp.controller.configuring import Rules

_NAMESPACE = click.option(
    "--namespace", default="metallb-system", show_default=True, help="Where the pools are."
)
_CLASS = click.option(
    "--lb-class", default="", metavar="CLASS", help="Serve Services of this loadBalancerClass only."
)
_EDITS = click.option(
    "--pool-edits",
    type=click.Choice(["move", "refuse"]),
    default="move",
    show_default=True,
    help="When an edit of pools would take an address that is in use: move the Service, or refuse the edit.",
)
_SERVICE_RANGE = click.option(
    "--service-range", "service_ranges", multiple=True, metavar="RANGE", help="Range of the clusterIPs."
)
_DHCP_RANGE = click.option(
    "--dhcp-range",
    "dhcp_ranges",
    multiple=True,
    metavar="RANGE",
    help="Addresses that a DHCP server gives out, as CIDR or FIRST-LAST; pools that overlap it are reported.",
)


def _deciding(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Add the options that daemon and plan share."""
    for option in (_DHCP_RANGE, _SERVICE_RANGE, _EDITS, _CLASS, _NAMESPACE):
        function = option(function)
    return function


def _rules(
    namespace: str, lb_class: str, pool_edits: str, *, services: tuple[str, ...], dhcp: tuple[str, ...]
) -> Rules:
    from strictarp.controller.configuring import Rules
    from strictarp.controller.guard import Surroundings, read_ranges

    surroundings = Surroundings(read_ranges(services, "--service-range"), read_ranges(dhcp, "--dhcp-range"))
    return Rules(namespace, lb_class, pool_edits == "refuse", surroundings)


@click.group(invoke_without_command=True)
@click.option(
    "--kubeconfig", default=None, metavar="FILE", help="Without it: the service account of the pod."
)
@_deciding
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
def command(  # noqa: PLR0913 - its options
    ctx: click.Context,
    kubeconfig: str | None,
    namespace: str,
    lb_class: str,
    pool_edits: str,
    *,
    service_ranges: tuple[str, ...],
    dhcp_ranges: tuple[str, ...],
    identity: str | None,
    port: int,
    health_probe_port: int,
) -> int | None:
    """Give Services of type LoadBalancer addresses from IPAddressPools, as MetalLB's controller does.

    Without a subcommand it is the daemon; on SIGTERM it ends with 0. One of several is active, by the Lease
    strictarp-controller.

    \b
    Examples:
      strictarp controller --kubeconfig /etc/strictarp/kubeconfig
      strictarp controller plan --objects objects/
    """
    if ctx.invoked_subcommand is not None:
        return None
    from strictarp.controller import daemon

    options = daemon.Options(
        kubeconfig,
        identity or socket.gethostname(),
        _rules(namespace, lb_class, pool_edits, services=service_ranges, dhcp=dhcp_ranges),
        metrics_port=port,
        health_port=health_probe_port,
    )
    return daemon.run(options)


@command.command(name="plan")
@objects_option("Services, IPAddressPools, Namespaces, Nodes")
@_deciding
@click.option(
    "--ignore-exclude-lb",
    is_flag=True,
    help="Taken so that the plans of controller and speaker have the same options; changes nothing here.",
)
def plan_command(
    paths: tuple[Path, ...],
    namespace: str,
    lb_class: str,
    pool_edits: str,
    *,
    service_ranges: tuple[str, ...],
    dhcp_ranges: tuple[str, ...],
    ignore_exclude_lb: bool,
) -> int:
    """Print as JSON what the controller would decide for these objects, and why.

    The status in the objects is where it starts from, as after a restart. Needs no API server and changes
    nothing. Exit 1 when the pools are wrong: `errors` says how, and every Service keeps what it has.

    \b
    Example: what would an edited pool change?
      kubectl get services,namespaces -A -o yaml >now.yaml
      strictarp controller plan --objects now.yaml --objects edited-pool.yaml
    """
    from strictarp.controller.plan import RESOURCES, document, make_plan
    from strictarp.kube.documents import decode, read_documents

    rules = _rules(namespace, lb_class, pool_edits, services=service_ranges, dhcp=dhcp_ranges)
    objects, unreadable = decode(read_documents(paths), RESOURCES, namespace=namespace)
    for each in unreadable:
        if each.kind != "IPAddressPool":
            click.echo(f"warning: left out: {each}", err=True)
    plan = make_plan(objects, unreadable, rules=rules)
    for warning in plan.warnings:
        click.echo(f"warning: {warning}", err=True)
    sys.stdout.write(json.dumps(document(plan), indent=2) + "\n")
    return 1 if plan.errors else 0
