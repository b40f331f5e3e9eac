"""`strictarp node-report`: what this node shows to root, for `strictarp doctor`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strictarp.cli.output import json_option, write_json

if TYPE_CHECKING:
    from strictarp.doctor.node.view import NodeView

EXIT_BLIND = 3


@click.command(name="node-report")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("/"),
    show_default=True,
    metavar="DIR",
    help="Where the node's root is mounted, from inside a pod (with the host's network and PIDs).",
)
@click.option(
    "--node",
    envvar="NODE_NAME",
    default="",
    metavar="NAME",
    help="The node's name in the cluster. Without it $NODE_NAME, else the host's name.",
)
@click.option(
    "--in-pod",
    is_flag=True,
    help="Print the report so that it can be found in a log, then stay until SIGTERM, as a DaemonSet's pod.",
)
@json_option
def command(root: Path, node: str, *, in_pod: bool, json_target: str | None) -> int:
    """Read what decides about ARP on this node, and what will change it: for `strictarp doctor`.

    Facts as `strictarp facts`, sysctl.d and tuned's profile, known daemons and the settings of theirs that
    matter, rules of nftables, arptables and tc, sizes of tables. Nothing is changed. Command lines,
    environments and files as a whole are never in the report.

    \b
    Exit status: 0 all was read    3 something could not be read (the report says what)
                 1 nothing could

    \b
    Examples:
      strictarp node-report
      strictarp node-report --json node1.json
      strictarp node-report --root /host --in-pod
    """
    import asyncio

    from strictarp.doctor.node.collecting import collect, to_json
    from strictarp.doctor.node.framing import framed

    view = asyncio.run(collect(root, node or os.uname().nodename))
    if in_pod:
        # Blocked before the report is out: who has read it may end this process at once.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        sys.stdout.write(framed(to_json(view)))
        sys.stdout.flush()
        signal.sigwait({signal.SIGTERM})
        return 0
    if json_target is not None:
        write_json(json_target, view)
    else:
        click.echo(summary(view))
    return EXIT_BLIND if view.blind else 0


def summary(view: NodeView) -> str:
    """For people: what was read, in a few lines."""
    from strictarp.arp.uplinks import default_route_devices
    from strictarp.sysctl.effective import strictarp_in_force

    host = view.host
    lines = [f"node {view.node}, kernel {view.kernel}, ip_vs {view.ipvs or 'unknown'}"]
    for device in default_route_devices(host):
        verdict = strictarp_in_force(
            host.own("arp_ignore", "all"),
            host.own("arp_ignore", device),
            all_announce=host.own("arp_announce", "all"),
            dev_announce=host.own("arp_announce", device),
        )
        state = "in force" if verdict else "NOT in force"
        lines.append(f"{device}: strictARP is {state}: {verdict.reason}")
    running = ", ".join(sorted({each.name for each in view.agents}))
    lines.append(f"known daemons: {running or 'none'}")
    lines += [
        f"{each.file} says mode {each.mode or '-'}, strictARP {each.strict}" for each in view.proxy_settings
    ]
    lines += [f"{line.where}: {line.path} = {line.value}" for line in (*view.lines, *view.tuned)]
    lines += [f"{each.kind} {each.name} may meet ARP" for each in view.filters]
    lines += [f"not read: {what}: {why}" for what, why in view.blind.items()]
    return "\n".join(lines)
