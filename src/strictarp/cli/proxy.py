"""`strictarp proxy`: the node proxy, and its plan for review."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import msgspec
from click.core import ParameterSource

from strictarp.arp.switching import Scope
from strictarp.cli.options import scope_option
from strictarp.errors import UserError
from strictarp.guard.settings import Settings as GuardSettings
from strictarp.proxy import config as configuration
from strictarp.proxy import settings as own_settings
from strictarp.proxy.config import Config
from strictarp.proxy.settings import Settings

_FILE = click.Path(path_type=Path)
_CONFIG = click.option("--config", "config_file", type=_FILE, help="KubeProxyConfiguration (YAML or JSON).")
_SETTINGS = click.option("--settings", "settings_file", type=_FILE, help="ProxySettings of strictarp.")

_SCOPE = scope_option(
    "--strictarp-scope",
    "Where ipvs.strictARP holds: everywhere, on uplinks alone, or by nftables for Service IPs alone.",
)
_STATE = click.option(
    "--strictarp-state",
    "state",
    type=click.Path(file_okay=False, path_type=Path),
    default=GuardSettings().state,
    show_default=True,
    help="Folder of the journal of former values, proxy.json.",
)


@click.group(invoke_without_command=True)
@_CONFIG
@_SETTINGS
@click.option("--hostname-override", default=None, metavar="NODE", help="Name of this Node in the API.")
@click.option(
    "--write-config-to",
    type=_FILE,
    metavar="FILE",
    help="Write the configuration with all its defaults to FILE, and end.",
)
@click.option("--init-only", is_flag=True, help="Do what needs a writable /proc/sys, and end.")
@_SCOPE
@_STATE
@click.option(
    "--cleanup", is_flag=True, help="Remove what was programmed, and end. Sysctls stay, but for strictARP's."
)
@click.option("--dry-run", is_flag=True, help="Print what would be done to the kernel now, and end.")
@click.option(
    "--open-forward",
    is_flag=True,
    help="Let answers of Services through nftables chains of others that drop forwarded packets by policy.",
)
@click.pass_context
def command(  # noqa: PLR0913 - its options
    ctx: click.Context,
    config_file: Path | None,
    settings_file: Path | None,
    hostname_override: str | None,
    write_config_to: Path | None,
    *,
    scope: str,
    state: Path,
    init_only: bool,
    cleanup: bool,
    dry_run: bool,
    open_forward: bool,
) -> int | None:
    """Program IPVS for the Services of a cluster, as kube-proxy's ipvs mode does.

    Without a subcommand it is the node's daemon. On SIGTERM it ends with 0 and leaves everything in place.

    \b
    Examples:
      strictarp proxy --config /etc/kube-proxy/config.conf --hostname-override node1
      strictarp proxy --config /etc/kube-proxy/config.conf --dry-run
      strictarp proxy plan --config config.conf --node node1 --node-address 192.0.2.11 --objects objects/
    """
    if ctx.invoked_subcommand is not None:
        return None
    if config_file is None and not (write_config_to or cleanup):
        raise click.UsageError("Missing option '--config'.")
    text = _text(config_file, "--config") if config_file is not None else _NO_CONFIG
    config, settings = _load(text, config_file or Path("(defaults)"), settings_file)
    if open_forward:
        settings = msgspec.structs.replace(settings, open_forward=True)
    if write_config_to is not None:
        return _write(text, configuration.overridden(hostname_override), write_config_to)
    from strictarp.starting import import_aiohttp

    import_aiohttp()
    from strictarp.proxy import process

    guard = guard_settings(ctx, settings, Scope(scope), state)
    options = process.options(
        config, settings, hostname_override, config_file=config_file, text=text, guard=guard
    )
    if init_only:
        return process.init_only(options)
    if cleanup or dry_run:
        for line in process.once(options, cleanup=cleanup, dry_run=dry_run):
            click.echo(line)
        return 0
    return process.run(options)


_NO_CONFIG = f"apiVersion: {configuration.API_VERSION}\nkind: {configuration.KIND}\nmode: ipvs\n"


def _write(text: str, override: str | None, target: Path) -> int:
    from strictarp.proxy.effective import effective

    try:
        target.write_text(effective(text, override), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--write-config-to {target}: {error}") from None
    return 0


@command.command(name="plan")
@_CONFIG
@_SETTINGS
@click.option("--node", required=True, help="Name of the node, as in nodeName of endpoints.")
@click.option(
    "--node-address",
    "addresses",
    multiple=True,
    required=True,
    metavar="IP",
    help="An address of the node; may be repeated. The first of a family is its primary one.",
)
@click.option(
    "--objects",
    "objects",
    multiple=True,
    required=True,
    type=_FILE,
    metavar="FILE|DIR",
    help="Services, EndpointSlices and Nodes; may be repeated. A folder means its .yaml, .yml and .json.",
)
def plan_command(
    config_file: Path | None,
    settings_file: Path | None,
    node: str,
    addresses: tuple[str, ...],
    objects: tuple[Path, ...],
) -> int:
    """Print as JSON what would be programmed on a node for these objects.

    Needs neither a kernel nor an API server; the daemon decides by the same functions. The node's own object,
    if it is among them, tells its zone. Parts of objects that cannot be used are named in `warnings`. Exit 1
    for files that cannot be used, with one line a fault on standard error.

    \b
    Examples:
      strictarp proxy plan --config config.conf --node node1 --node-address 192.0.2.11 --objects objects/
      kubectl get services,endpointslices,nodes -A -o yaml > all.yaml
      strictarp proxy plan --config config.conf --node node1 --node-address 192.0.2.11 \\
          --node-address 2001:db8::11 --objects all.yaml
    """
    if config_file is None:
        raise click.UsageError("Missing option '--config'.")
    from strictarp.proxy.addresses import pack
    from strictarp.proxy.documents import read_objects
    from strictarp.proxy.plan import document, plan_objects
    from strictarp.proxy.situation import (
        NodeFacts,
        addresses_in_api,
        first_of_each_family,
        odd_families,
        situation,
        zone_of,
    )

    config, settings = _load(_text(config_file, "--config"), config_file, settings_file)
    packed = []
    for text in addresses:
        address = pack(text)
        if address is None:
            raise click.UsageError(f"--node-address: {text!r} is no IP address.")
        packed.append(address)
    found = read_objects(objects)
    own = next((each for each in reversed(found.nodes) if each.metadata.name == node), None)
    elsewhere = {
        address: each.metadata.name
        for each in found.nodes
        if each.metadata.name != node
        for address in addresses_in_api(each)
    }
    facts = NodeFacts(node, tuple(packed), first_of_each_family(packed), zone_of(own), others=elsewhere)
    desired, warnings = plan_objects(found.services, found.slices, situation(config, facts))
    odd = (f"{configuration.KIND} {config_file}: {fault}" for fault in odd_families(config, facts))
    warnings = [*odd, *settings.warnings, *found.warnings, *warnings]
    made = document(desired, config, warnings, guard=settings.guard)
    sys.stdout.write(json.dumps(made, indent=2) + "\n")
    return 0


@command.command(name="migrate")
@_CONFIG
@_SETTINGS
@click.option("--hostname-override", default=None, metavar="NODE", help="Name of this Node in the API.")
@click.option("--back", is_flag=True, help="Leave the node to the kube-proxy that runs on it now.")
@click.option("--dry-run", is_flag=True, help="Print the steps, and change nothing.")
@click.option(
    "--wait",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    metavar="S",
    help="Seconds that a step may take; open connections are waited for so long.",
)
@_SCOPE
@_STATE
@click.pass_context
def migrate_command(  # noqa: PLR0913 - its options
    ctx: click.Context,
    config_file: Path | None,
    settings_file: Path | None,
    hostname_override: str | None,
    *,
    scope: str,
    state: Path,
    back: bool,
    dry_run: bool,
    wait: float,
) -> int:
    """Take this node over from kube-proxy in any mode, or give it back, keeping connections.

    Stop kube-proxy on the node first, not more: what it has programmed goes on working until it is replaced.
    With --back the other way round: stop strictarp, start kube-proxy, then run this. Give --strictarp-scope
    and --strictarp-state as the proxy that is to run here has them.

    \b
    Examples:
      strictarp proxy migrate --config /etc/kube-proxy/config.conf --dry-run
      strictarp proxy migrate --config /etc/kube-proxy/config.conf
      strictarp proxy migrate --config /etc/kube-proxy/config.conf --back
    """
    if config_file is None:
        raise click.UsageError("Missing option '--config'.")
    text = _text(config_file, "--config")
    config, settings = _load(text, config_file, settings_file)
    from strictarp.proxy import process

    guard = guard_settings(ctx, settings, Scope(scope), state)
    options = process.options(
        config, settings, hostname_override, config_file=config_file, text=text, guard=guard
    )
    process.migrate(options, back=back, dry_run=dry_run, wait=wait, tell=click.echo)
    return 0


def guard_settings(ctx: click.Context, settings: Settings, scope: Scope, state: Path) -> GuardSettings:
    """How strictARP is kept: as the settings file says, but for options that are given."""
    chosen = {
        name: value
        for name, value in (("scope", scope), ("state", state))
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    guard = msgspec.structs.replace(settings.guard, **chosen)
    if reason := own_settings.device_fault(settings.vip_device, guard.scope):
        raise UserError(f"vipDevice.name: {reason}")
    return guard


def _load(text: str, config_file: Path, settings_file: Path | None) -> tuple[Config, Settings]:
    """Read both files; every fault of them goes to standard error, then the program ends with 1."""
    try:
        config = configuration.load(text, str(config_file))
        settings = (
            own_settings.load(_text(settings_file, "--settings"), str(settings_file))
            if settings_file is not None
            else Settings()
        )
    except UserError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(1) from None
    return config, settings


def _text(file: Path, option: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option} {file}: cannot be read: {error}") from None
