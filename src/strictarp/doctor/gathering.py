"""Reading from the API, and from the status pages of our daemons, what the checks look at. Thin.

Changes nothing. What is not installed is absent; what may not be read is told, and the rest goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from strictarp.cluster.edit import health_port
from strictarp.cluster.looking import read_signs
from strictarp.cluster.nodes import internal_address
from strictarp.cluster.signs import Signs, holder
from strictarp.doctor.announcers import OURS
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.fetching import fetch
from strictarp.doctor.kinds import (
    BGPADVERTISEMENTS,
    CILIUML2POLICIES,
    DAEMONSETS,
    FELIXCONFIGURATIONS,
    PODS,
)
from strictarp.doctor.managed import MANAGED_CONFIGMAPS, written_at
from strictarp.doctor.objects import Objects, ProxyAnswer, SpeakerAnswer
from strictarp.doctor.pages import proxy_answer, speaker_answer
from strictarp.doctor.proxying import IPVS
from strictarp.errors import UserError
from strictarp.hello.secret import SECRET
from strictarp.kube.client import Client
from strictarp.kube.custom import (
    ADDRESSCONFLICTS,
    CONFIGURATIONSTATES,
    IPADDRESSPOOLS,
    L2ADVERTISEMENTS,
    SERVICEL2STATUSES,
)
from strictarp.kube.errors import ApiError, Forbidden, KubeError, NotFound, Unauthorized, Unreachable
from strictarp.kube.model import KubeObject, Resource
from strictarp.kube.objects import (
    CONFIGMAPS,
    ENDPOINTSLICES,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    SECRETS,
    SERVICES,
    ConfigMap,
    Node,
    Secret,
)
from strictarp.wire.announcers import NODE_ASSIGNED, announcers
from strictarp.wire.cluster_reading import running
from strictarp.wire.vips import service_vips

T = TypeVar("T", bound=KubeObject)
SYSTEM = "kube-system"
METRICS_PORT, HEALTH_PORT = 7472, 10256
_PARALLEL = 4

Tell = Callable[[str], None]


class _Reader:
    """Reads kinds, a few at a time, and notes what it may not have."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.blind: dict[str, str] = {}
        self.groups: frozenset[str] = frozenset()
        """API groups that are served; empty if that is not known."""
        self._gate = asyncio.Semaphore(_PARALLEL)

    async def list(
        self, resource: Resource[T], namespace: str = "", *, field_selector: str = ""
    ) -> tuple[T, ...]:
        """All objects; none of a kind that is not there, or not for us. Raises Unreachable, Unauthorized."""
        group, slash, _ = resource.api_version.partition("/")
        if slash and self.groups and group not in self.groups:
            return ()  # who may not read it would be told 403, as if it were there
        try:
            async with self._gate:
                found = await self.client.list(resource, namespace, field_selector=field_selector)
        except NotFound:
            return ()
        except (Unreachable, Unauthorized):
            raise
        except ApiError as error:
            self.note(resource, error)
            return ()
        for each in found.refused:
            self.blind[f"{resource.kind} {each.key}"] = f"it cannot be read: {each.reason}"
        return found.items

    async def get(self, resource: Resource[T], name: str, namespace: str) -> T | None:
        """One object; None where there is none, or it is not shown."""
        try:
            async with self._gate:
                return await self.client.get(resource, name, namespace)
        except NotFound:
            return None
        except (Unreachable, Unauthorized):
            raise
        except ApiError as error:
            self.note(resource, error)
            return None

    def note(self, resource: Resource[Any], error: ApiError) -> None:
        """This kind could not be read."""
        needed = f"; needed: get and list {resource.plural}" if isinstance(error, Forbidden) else ""
        self.blind[resource.plural] = f"{error}{needed}"


async def gather(client: Client, tell: Tell) -> tuple[ClusterView | None, dict[str, str]]:
    """What the API shows, and by kind what it does not; without an answer None, and why not for `cluster`."""
    reader = _Reader(client)
    try:
        return ClusterView(await _objects(reader, tell)), reader.blind
    except KubeError as error:  # no answer, none for us, or none that can be read
        return None, {"cluster": str(error)}


async def _objects(reader: _Reader, tell: Tell) -> Objects:
    tell("reading the API …")
    version = await _version(reader)
    signs = await read_signs(reader.client)
    reader.groups = signs.groups
    lists = await asyncio.gather(
        *(reader.list(each, where, field_selector=selector) for each, where, selector in _LISTED.values())
    )
    found: dict[str, Any] = dict(zip(_LISTED, lists, strict=True))
    events, statuses = found.pop("events"), found.pop("l2_statuses")
    found["leases"] = tuple(running(found["leases"]))
    objects = Objects(
        version=version,
        signs=signs,
        configmaps=await _config_maps(reader),
        configured_at=await _written(reader, signs),
        announced=announcers(
            service_vips(found["services"]),
            statuses=statuses,
            events=events,
            leases=found["leases"],
        ),
        **found,
    )
    view = ClusterView(objects)
    return msgspec.structs.replace(
        objects,
        secret=await _secret(reader, view),
        proxies=await _proxies(view, tell),
        speakers=await _speakers(view, tell),
    )


_LISTED: Mapping[str, tuple[Resource[Any], str, str]] = {
    "nodes": (NODES, "", ""),
    "namespaces": (NAMESPACES, "", ""),
    "services": (SERVICES, "", ""),
    "slices": (ENDPOINTSLICES, "", ""),
    "pods": (PODS, SYSTEM, ""),
    "daemonsets": (DAEMONSETS, "", ""),
    "leases": (LEASES, "", ""),
    "events": (EVENTS, "", f"reason={NODE_ASSIGNED}"),
    "pools": (IPADDRESSPOOLS, "", ""),
    "advertisements": (L2ADVERTISEMENTS, "", ""),
    "bgp_advertisements": (BGPADVERTISEMENTS, "", ""),
    "l2_statuses": (SERVICEL2STATUSES, "", ""),
    "configuration_states": (CONFIGURATIONSTATES, "", ""),
    "conflicts": (ADDRESSCONFLICTS, "", ""),
    "felix": (FELIXCONFIGURATIONS, "", ""),
    "cilium_policies": (CILIUML2POLICIES, "", ""),
}
"""Field of `Objects` (two of them are used here alone) → what is listed, in which namespace, which fields."""


async def _version(reader: _Reader) -> str:
    """Empty where it is not told: nothing but a word about deprecation depends on it."""
    try:
        return await reader.client.version()
    except (Unreachable, Unauthorized):
        raise
    except ApiError:
        return ""


async def _config_maps(reader: _Reader) -> tuple[ConfigMap, ...]:
    cilium = await reader.get(CONFIGMAPS, "cilium-config", SYSTEM)
    return (cilium,) if cilium is not None else ()


async def _written(reader: _Reader, signs: Signs) -> str:
    """When the proxies' configuration was last written."""
    held = holder(signs)
    config = await reader.get(MANAGED_CONFIGMAPS, held.name, held.namespace) if held is not None else None
    return written_at(config, held.key) if held is not None and config is not None else ""


async def _secret(reader: _Reader, view: ClusterView) -> Secret | None:
    """That of the hellos, where our speakers are: nobody else's is read."""
    if view.announcer(OURS) is None:
        return None
    return await reader.get(SECRETS, SECRET, view.namespace)


async def _proxies(view: ClusterView, tell: Tell) -> tuple[ProxyAnswer, ...]:
    """What the nodes' proxies say, where one of mode ipvs is to be expected."""
    if view.proxying.mode != IPVS:
        return ()
    port = _health_port(view)
    urls = _urls(view.objects.nodes, port, "strictarp")
    tell(f"asking {len(urls)} nodes what their proxies say …")
    answers = (proxy_answer(node, answer) for node, answer in (await fetch(urls)).items())
    return tuple(each for each in answers if each is not None)


def _health_port(view: ClusterView) -> int:
    held = view.installer.holder
    config = view.objects.signs.config_map(held.name) if held is not None else None
    if held is None or config is None:
        return HEALTH_PORT
    try:
        return health_port(config.data.get(held.key, ""), held)
    except UserError:
        return HEALTH_PORT


async def _speakers(view: ClusterView, tell: Tell) -> tuple[SpeakerAnswer, ...]:
    """The figures of our speakers, on the nodes that have one."""
    nodes = [each for each in view.objects.nodes if each.metadata.name in view.presences]
    if not nodes:
        return ()
    tell(f"asking {len(nodes)} speakers for their figures …")
    answers = await fetch(_urls(nodes, METRICS_PORT, "metrics"))
    found = (speaker_answer(node, answer) for node, answer in answers.items())
    return tuple(each for each in found if each is not None)


def _urls(nodes: Iterable[Node], port: int, page: str) -> dict[str, str]:
    found = {}
    for each in nodes:
        if address := internal_address(each):
            host = f"[{address}]" if ":" in address else address
            found[each.metadata.name] = f"http://{host}:{port}/{page}"
    return found
