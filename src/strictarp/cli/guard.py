"""`strictarp guard`: keeps strictARP in force on a node, and puts back what was there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from strictarp.arp.switching import Scope
from strictarp.cli.options import ListenAddress, scope_option
from strictarp.cli.output import json_option, write_json
from strictarp.guard.report import Report, text
from strictarp.guard.settings import Settings

EXIT_NOT_IN_FORCE = 2
EXIT_NO_JOURNAL = 3


@click.command(name="guard")
@scope_option("--scope", "Every interface, the uplinks alone, or nothing but the Service IPs (by nftables).")
@click.option(
    "--uplink", "uplinks", multiple=True, metavar="IFACE", help="Guard these instead of those that are found."
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Settings().state,
    show_default=True,
    help="Folder of the journal, guard.json.",
)
@click.option("--once", "mode", flag_value="once", help="Assert now, report, and end.")
@click.option("--release", "mode", flag_value="release", help="Put back what was there before, and end.")
@click.option("--status", "mode", flag_value="status", help="Report, change nothing, and end.")
@click.option(
    "--metrics-bind-address",
    "metrics",
    type=ListenAddress(),
    metavar="[HOST]:PORT",
    help="Serve /metrics, /healthz and /strictarp there.",
)
@click.option(
    "--host-root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/"),
    show_default=True,
    help="Where the node's files are mounted, to tell who changed a value (etc/sysctl.d, etc/tuned, proc).",
)
@json_option
def command(
    scope: str,
    uplinks: tuple[str, ...],
    state: Path,
    mode: str | None,
    metrics: tuple[str | None, int] | None,
    host_root: Path,
    json_target: str | None,
) -> int:
    """Keep strictARP in force: no Service IP is answered by the kernel, nor used as sender of its requests.

    Scope `all` writes net.ipv4.conf.all, as kube-proxy does, `uplinks` those interfaces' own values, `vips`
    no sysctl at all: a table of nftables, family arp, drops requests for Service IPs on the uplinks. Values
    that are stricter (arp_ignore 2 or 8) are left alone. What somebody changes is set again within 2 s, and
    told with who it may have been: lines of sysctl.d, tuned's profile, agents that are known to write it.

    Uplinks are the interfaces by which a default route leaves, and those with a subnet that holds a Service
    IP (an address of kube-ipvs0); not lo, nor ports of bridges and bonds. One that was an uplink stays one
    until --release.

    Before a value is written for the first time, what was there is written to the journal. Ctrl-C and SIGTERM
    end the guard and leave everything in force; --release puts back every value that is still ours. Needs
    CAP_NET_ADMIN, nothing else, a writable /proc/sys/net, and for scope `vips` the program nft.

    \b
    Exit status: 0 ended by a signal; in force (--once, --status); everything put back (--release)
                 1 it cannot be done    2 not in force on an uplink; some value was left as it is (--release)
                 3 there is no journal (--release, --status)    64 wrong usage

    \b
    Examples:
      strictarp guard --scope uplinks --metrics-bind-address 127.0.0.1:9474
      strictarp guard --scope vips --uplink eth1 --once
      strictarp guard --status --json
      strictarp guard --release
    """
    settings = Settings(Scope(scope), tuple(dict.fromkeys(uplinks)), state, host_root=host_root)
    if metrics is not None and mode is not None:
        raise click.UsageError(
            f"--metrics-bind-address serves a guard that stays; it cannot go with --{mode}"
        )
    if mode is None:
        if json_target is not None:
            raise click.UsageError("--json goes with --once, --release or --status")
        from strictarp.guard import daemon

        return daemon.run(settings, metrics)
    if mode == "release":
        return _release(settings, json_target)
    return _status(settings, json_target) if mode == "status" else _once(settings, json_target)


def _once(settings: Settings, json_target: str | None) -> int:
    from strictarp.guard import daemon

    told, notes = daemon.once(settings)
    for note in notes:
        click.echo(note, err=True)
    return _shown(told, json_target)


def _status(settings: Settings, json_target: str | None) -> int:
    from strictarp.guard import once

    told = asyncio.run(once.status(settings))
    if told is None:
        click.echo(f"no journal in {settings.state}: nothing was ever guarded from there", err=True)
        return EXIT_NO_JOURNAL
    return _shown(told, json_target)


def _shown(told: Report, json_target: str | None) -> int:
    if json_target is not None:
        write_json(json_target, told)
    else:
        click.echo(text(told))
    return 0 if told.in_force else EXIT_NOT_IN_FORCE


def _release(settings: Settings, json_target: str | None) -> int:
    from strictarp.guard import once

    released = asyncio.run(once.put_back(settings))
    if json_target is not None:
        write_json(json_target, released)
    elif not released.known:
        click.echo(f"no journal in {settings.state}: there is nothing to put back", err=True)
    else:
        for line in (*released.done, *(f"left: {each}" for each in released.left)):
            click.echo(line)
        if not released.done and not released.left:
            click.echo("every value is as it was found")
    if not released.known:
        return EXIT_NO_JOURNAL
    return EXIT_NOT_IN_FORCE if released.left else 0
