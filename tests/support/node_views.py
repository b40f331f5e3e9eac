"""Nodes as the doctor sees them, made of the commands that people would type."""

from collections.abc import Sequence
from ipaddress import IPv4Address

from strictarp.arp.facts import Device
from strictarp.arp.facts_text import text_of
from strictarp.doctor.check import Check, Sighting
from strictarp.doctor.cluster_view import ClusterView, Objects
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.node.filters import arptables_filter, nft_filters, readable
from strictarp.doctor.node.sysctld import File, lines_of
from strictarp.doctor.node.view import Agent, NodeView
from strictarp.kube.objects import Ingress, LoadBalancerStatus, Service, ServiceSpec, ServiceStatus
from support.command_hosts import IPVS, VIP, host, nic

NODE = "addr add 192.0.2.11/24 dev eth0"
DEFAULT = "route add default via 192.0.2.1"
STRICT = ("all.arp_ignore=1", "all.arp_announce=2")
IPVS_PROXY = Agent("kube-proxy", 7, {"proxy-mode": "ipvs", "ipvs-strict-arp": "true"}, started=1000.0)


def view(
    *lines: str,
    node: str = "n1",
    devices: Sequence[Device] = (nic(), IPVS),
    files: Sequence[tuple[str, str]] = (),
    nft: str = "",
    arptables: str = "",
    agents: Sequence[Agent] = (IPVS_PROXY,),
    **fields: object,
) -> NodeView:
    """A node; `lines` as `command_hosts.host` takes them."""
    legacy = arptables_filter(arptables)
    found = (*nft_filters(nft), *((legacy,) if legacy else ()))
    return NodeView(
        node,
        facts=text_of(host(*lines, devices=devices), nft=readable(found)),
        filters=(*found, *fields.pop("filters", ())),  # type: ignore[misc]
        lines=lines_of(File(path, text) for path, text in files),
        agents=tuple(agents),
        **fields,  # type: ignore[arg-type]
    )


def healthy(*more: str, **fields: object) -> NodeView:
    """A node with a VIP on kube-ipvs0, and strictARP."""
    return view(NODE, DEFAULT, VIP, *STRICT, *more, **fields)  # type: ignore[arg-type]


def evidence(*views: NodeView, vips: Sequence[str] | None = None) -> Evidence:
    """All nodes; vips: of LoadBalancer Services, None when the cluster was not looked at."""
    cluster = None
    if vips is not None:
        ingress = tuple(Ingress(ip=str(IPv4Address(vip))) for vip in vips)
        service = Service(
            spec=ServiceSpec(type="LoadBalancer"), status=ServiceStatus(LoadBalancerStatus(ingress))
        )
        cluster = ClusterView(Objects(services=(service,)))
    return Evidence(cluster, {each.node: each for each in views})


def seen(check: Check, given: Evidence) -> list[Sighting]:
    """What a check finds."""
    return list(check.look(given))
