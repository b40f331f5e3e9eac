"""One run of the doctor: look at each part that is wanted, then judge. Thin."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from strictarp.doctor import wireside
from strictarp.doctor.check import Check, Part
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.diagnosis import Diagnosis, diagnose
from strictarp.doctor.evidence import NODE, Evidence
from strictarp.doctor.gathering import gather
from strictarp.doctor.node import applying, manifest
from strictarp.doctor.node.collecting import collect
from strictarp.doctor.node.view import NodeView
from strictarp.doctor.reports import read_reports
from strictarp.doctor.wire_view import WireView
from strictarp.errors import UserError
from strictarp.kube.access import Access, find
from strictarp.kube.client import Client

Tell = Callable[[str], None]


class Order(msgspec.Struct, frozen=True):
    """What is wanted.

    named: the checks were named one by one, so what they need is asked for with them. cluster: whether the
    API is to be asked, and access: which one. wire: None for where it can be done.
    image: of the DaemonSet that reads the nodes, "" for none.
    """

    checks: tuple[Check, ...]
    named: bool = False
    cluster: bool = True
    access: Access = Access()
    reports: tuple[Path, ...] = ()
    this_node: bool = False
    image: str = ""
    namespace: str = manifest.NAMESPACE
    wire: bool | None = None
    interface: str | None = None

    @property
    def asked(self) -> frozenset[Part]:
        """The parts that are asked for: not to see one of these is exit code 3."""
        wanted = {
            Part.CLUSTER: self.cluster,
            Part.NODES: bool(self.reports) or self.this_node or bool(self.image),
            Part.WIRE: bool(self.wire),
        }
        needed = frozenset[Part]().union(*(check.needs for check in self.checks if self.named))
        return needed.union(part for part, asked in wanted.items() if asked)


async def run(order: Order, tell: Tell) -> Diagnosis:
    """Look and judge. tell: gets progress, a line at a time. Raises UserError where the user has to act."""
    blind: dict[str, str] = {}
    view = None
    reports: dict[str, NodeView] = {}
    if order.cluster:
        async with Client(find(order.access)) as client:
            view, blind = await gather(client, tell)
            if view is not None and order.image:
                reports |= await _from_daemonset(client, order, blind, tell)
    reports |= read_reports(order.reports)
    if order.this_node:
        tell("reading this node …")
        own = await _this_node(view)
        reports[own.node] = own
    _note_missing(order, view, reports, blind)
    wire = await _wire(order, view, reports, blind, tell)
    tell("judging …")
    return diagnose(Evidence(view, reports, wire, blind), order.checks, order.asked)


async def _from_daemonset(
    client: Client, order: Order, blind: dict[str, str], tell: Tell
) -> dict[str, NodeView]:
    name = manifest.PREFIX + secrets.token_hex(3)
    document = manifest.document(order.image, name, namespace=order.namespace)
    told = await applying.collect(client, document, tell)
    reports = {}
    for node, report in told.items():
        if isinstance(report, str):
            blind[NODE + node] = report
            continue
        try:
            _ = report.host
            reports[node] = report
        except UserError as error:
            blind[NODE + node] = str(error)
    return reports


async def _this_node(view: ClusterView | None) -> NodeView:
    """This host's own report, by the name that the cluster has for it."""
    own = await collect(Path("/"), os.uname().nodename)
    nodes = {each.metadata.name for each in view.objects.nodes} if view is not None else set()
    if view is None or own.node in nodes:
        return own
    addresses = (str(IPv4Address(each)) for each in sorted(own.host.local_addresses))
    named = {view.node_of_address[each] for each in addresses if each in view.node_of_address}
    return msgspec.structs.replace(own, node=named.pop()) if len(named) == 1 else own


def _note_missing(
    order: Order, view: ClusterView | None, reports: Mapping[str, NodeView], blind: dict[str, str]
) -> None:
    """Nodes without a report where all were asked for, and what reports say that they could not see."""
    if view is not None and (order.reports or order.image):
        for each in view.objects.nodes:
            name = each.metadata.name
            if name not in reports:
                blind.setdefault(NODE + name, "there is no report of it")
    for name, report in reports.items():
        for what, why in report.blind.items():
            blind[f"{NODE}{name}: {what}"] = why


async def _wire(
    order: Order,
    view: ClusterView | None,
    reports: Mapping[str, NodeView],
    blind: dict[str, str],
    tell: Tell,
) -> WireView | None:
    if order.wire is False:
        return None
    if view is None:
        if order.wire:
            blind.setdefault("wire", "the addresses to ask for come from the API, which was not seen")
        return None
    hosts = {name: report.host for name, report in reports.items()}
    heard, unheard = await wireside.ask(view, order.interface, hosts, tell)
    blind |= unheard
    return heard


def print_manifest(image: str, namespace: str) -> str:
    """The DaemonSet that reads the nodes, as YAML. Raises UserError."""
    return manifest.manifest(image, manifest.PREFIX + secrets.token_hex(3), namespace=namespace)
