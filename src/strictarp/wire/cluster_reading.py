"""Read from the API what bears on external addresses. Thin."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from strictarp.kube.access import Access, find
from strictarp.kube.client import Client
from strictarp.kube.custom import SERVICEL2STATUSES
from strictarp.kube.errors import ApiError
from strictarp.kube.model import KubeObject, Resource
from strictarp.kube.objects import EVENTS, LEASES, NODES, SERVICES, Lease
from strictarp.wire.announcers import NODE_ASSIGNED, announcers
from strictarp.wire.cluster_view import ClusterView
from strictarp.wire.vips import service_vips

T = TypeVar("T", bound=KubeObject)
_LENIENCE = timedelta(seconds=60)


async def view_cluster(access: Access) -> ClusterView:
    """Read it.

    Needed: list services and nodes; helpful: servicel2statuses, events, leases. Raises UserError for the
    kubeconfig, KubeError.
    """
    async with Client(find(access)) as client:
        services = (await client.list(SERVICES)).items
        nodes = (await client.list(NODES)).items
        vips = service_vips(services)
        unseen: list[str] = []
        said = announcers(
            vips,
            statuses=await _if_allowed(client, SERVICEL2STATUSES, unseen),
            events=await _if_allowed(client, EVENTS, unseen, field_selector=f"reason={NODE_ASSIGNED}"),
            leases=running(await _if_allowed(client, LEASES, unseen)),
        )
        return ClusterView(vips, nodes, said, tuple(unseen))


async def _if_allowed(
    client: Client, resource: Resource[T], unseen: list[str], *, field_selector: str = ""
) -> tuple[T, ...]:
    """The objects; none, and noted, where the kind is not installed or not for us."""
    try:
        return (await client.list(resource, field_selector=field_selector)).items
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        if error.status == 403:
            unseen.append(resource.plural)
        return ()


def running(leases: Iterable[Lease]) -> list[Lease]:
    """Those that have not run out by this host's clock; a minute is added for clocks that differ."""
    now = datetime.now(UTC)
    found = []
    for lease in leases:
        try:
            renewed = datetime.fromisoformat(lease.spec.renew_time or "")
        except ValueError:
            continue
        lasts = timedelta(seconds=lease.spec.lease_duration_seconds or 0) + _LENIENCE
        if renewed.tzinfo is not None and renewed + lasts > now:
            found.append(lease)
    return found
