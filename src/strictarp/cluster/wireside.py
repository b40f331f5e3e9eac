"""Asking on the wire for the cluster's Service IPs, and telling their owners to announce again. Thin."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address

import msgspec

from strictarp.arp.facts import Host
from strictarp.cluster.onwire import Heard, heard
from strictarp.kube.client import Client
from strictarp.kube.custom import ANNOUNCE_AGAIN
from strictarp.kube.errors import Conflict, KubeError, NotFound
from strictarp.kube.objects import NODES, SERVICES, Node
from strictarp.wire.asking import DEFAULT_WAIT, probe_many
from strictarp.wire.naming import internal_ips, known
from strictarp.wire.vantage import CannotLook
from strictarp.wire.vips import IpAddress, service_vips

WAIT = DEFAULT_WAIT
PARALLEL = 16
CONFLICTS = 5


class Segment(msgspec.Struct, frozen=True):
    """What is asked for: Service IPs with their Services, and by whom answers are named.

    facts: node → its facts. interface: where to ask, None for that of the route to each IP.
    """

    vips: Mapping[IpAddress, tuple[str, ...]] = {}
    nodes: tuple[Node, ...] = ()
    facts: Mapping[str, Host] = {}
    interface: str | None = None

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """Those that ARP can ask for."""
        return tuple(ip for ip in self.vips if isinstance(ip, IPv4Address))


async def segment(client: Client, facts: Mapping[str, Host], interface: str | None) -> Segment:
    """The Service IPs that there are now. Raises KubeError."""
    vips = service_vips((await client.list(SERVICES)).items)
    return Segment(vips, (await client.list(NODES)).items, facts, interface)


async def ask(here: Segment, ips: Iterable[str] | None = None) -> dict[str, Heard]:
    """Ask once for these Service IPs, or all; each that cannot be asked for has its reason.

    The nodes' own addresses are asked for as well: who answers for one of them is that node.
    """
    wanted = dict.fromkeys(here.addresses if ips is None else map(IPv4Address, ips))
    own = internal_ips(here.nodes)
    try:
        found = await probe_many((*wanted, *own), here.interface, wait=WAIT)
    except CannotLook as error:
        return {str(ip): Heard(str(ip), reason=str(error)) for ip in wanted}
    names = known(nodes=here.nodes, answered=found, facts=here.facts)
    return heard((each for each in found if IPv4Address(each.ip) in wanted), names)


async def announce_again(client: Client, services: Sequence[str]) -> tuple[str, ...]:
    """Have the owners of these Services (`namespace/name`) announce. Returns what went wrong, in words.

    Nobody else's field is touched: a merge patch of one annotation, which is overwritten the next time.
    """
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    limit = asyncio.Semaphore(PARALLEL)
    told = await asyncio.gather(*(_announce(client, limit, each, stamp) for each in services))
    return tuple(each for each in told if each)


async def _announce(client: Client, limit: asyncio.Semaphore, service: str, stamp: str) -> str:
    namespace, _, name = service.partition("/")
    patch = {"metadata": {"annotations": {ANNOUNCE_AGAIN: stamp}}}
    failure = ""
    for _ in range(CONFLICTS):
        try:
            async with limit:
                await client.merge_patch(SERVICES, name, patch, namespace)
        except Conflict as error:
            failure = str(error)
        except NotFound:
            return ""  # deleted meanwhile
        except KubeError as error:
            return f"Service {service}: {error}"
        else:
            return ""
    return f"Service {service}: {failure}"
