"""What `strictarp probe` and `strictarp watch` have in common on the command line."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from strictarp.arp import probing
from strictarp.arp.facts import Host
from strictarp.arp.facts_text import host_of, parse_facts
from strictarp.cli.options import access_options
from strictarp.cli.output import read_text
from strictarp.errors import UserError
from strictarp.kube.access import Access

if TYPE_CHECKING:
    from strictarp.wire.cluster_view import ClusterView
    from strictarp.wire.naming import GivenFacts

_MOST_NAMED = 5


class AddressType(click.ParamType[IPv4Address]):
    """An IPv4 address that a host may answer ARP for."""

    name = "ip"

    def convert(
        self, value: str | IPv4Address, param: click.Parameter | None, ctx: click.Context | None
    ) -> IPv4Address:
        """The address; a usage error for anything else."""
        if isinstance(value, IPv4Address):
            return value
        try:
            address = IPv4Address(value)
        except AddressValueError:
            self.fail(f"{value!r} is no IPv4 address such as 192.0.2.100", param, ctx)
        if address.is_multicast or address.is_loopback or address.is_unspecified:
            self.fail(f"{value} is not an address that a host answers ARP for", param, ctx)
        return address


class Where(msgspec.Struct, frozen=True):
    """What these options say. access: the API to ask for names, None unless it is named."""

    ips: tuple[IPv4Address, ...]
    interface: str | None
    access: Access | None
    facts_files: tuple[str, ...]


def wire_options(function: Callable[..., int]) -> Callable[..., int]:
    """Addresses, interface, cluster and FACTS, as the parameter `where`."""

    @functools.wraps(function)
    def command(
        *,
        ips: tuple[IPv4Address, ...],
        interface: str | None,
        kubeconfig: str | None,
        context: str | None,
        facts_files: tuple[str, ...],
        **rest: object,
    ) -> int:
        named = kubeconfig is not None or context is not None
        access = Access(kubeconfig, context) if named else None
        return function(where=Where(ips, interface, access, facts_files), **rest)

    made: Callable[..., int] = command
    for option in (
        click.option(
            "--facts",
            "facts_files",
            multiple=True,
            metavar="[NODE=]FILE",
            help="What `strictarp facts --json FILE` wrote on a node; more than one may be given.",
        ),
        access_options,
        click.option(
            "-i", "--interface", metavar="IFACE", help="Ask on this interface, not that of the route to IP."
        ),
        click.argument("ips", metavar="[IP]...", nargs=-1, type=AddressType()),
    ):
        made = option(made)
    return made


def facts_from(where: Where) -> GivenFacts:
    """FACTS by the label given, or the file's name without its ending. Raises UserError."""
    from strictarp.wire.naming import GivenFacts

    found: dict[str, Host] = {}
    unread = set()
    for each in where.facts_files:
        label, equals, file = each.partition("=")
        path = Path(file if equals else each)
        label = label if equals else path.stem
        try:
            told = parse_facts(read_text(path), name=str(path))
            found[label] = host_of(told, name=str(path))
        except UserError as error:  # 1 would say that nobody answers
            raise UserError(str(error), probing.EXIT_CANNOT_LOOK) from error
        if told.nft_tables and not told.nft:
            unread.add(label)
    return GivenFacts(found, frozenset(unread))


def view_for(where: Where, *, whole_cluster: bool) -> ClusterView:
    """What the API shows; nothing unless it is named or all addresses of the cluster are wanted.

    An API that does not answer ends the command only then: names are no more than a help. Raises UserError.
    """
    from strictarp.wire.cluster_view import ClusterView

    if where.access is None and not whole_cluster:
        return ClusterView()
    from strictarp.kube.errors import KubeError
    from strictarp.wire.cluster_reading import view_cluster

    try:
        view = asyncio.run(view_cluster(where.access or Access()))
    except (KubeError, UserError) as error:
        if whole_cluster:
            raise UserError(f"cannot look at the cluster: {error}", probing.EXIT_CANNOT_LOOK) from error
        click.echo(f"warning: no names from the cluster: {error}", err=True)
        return ClusterView()
    if view.unseen:
        click.echo(
            f"note: not allowed to list {', '.join(view.unseen)}; culprits are named less well", err=True
        )
    return view


def addresses_of(view: ClusterView) -> list[IPv4Address]:
    """The IPv4 addresses of all Services; the others are told. Raises UserError when there is none."""
    wanted = [each for each in view.vips if isinstance(each, IPv4Address)]
    others = [each for each in view.vips if not isinstance(each, IPv4Address)]
    if others:
        named = ", ".join(f"{each} ({', '.join(view.vips[each])})" for each in others[:_MOST_NAMED])
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        click.echo(f"note: not asked for, since ARP is for IPv4: {named}{more}", err=True)
    if not wanted:
        raise UserError(
            "cannot look: no Service has a LoadBalancer ingress address or external IP of IPv4",
            probing.EXIT_CANNOT_LOOK,
        )
    return wanted
