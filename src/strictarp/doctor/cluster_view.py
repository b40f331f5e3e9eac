"""What the API shows: the objects as they are, and what they amount to. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property

import msgspec

from strictarp.cluster.installers import Installer, recognise
from strictarp.controller.configuring import Rules
from strictarp.controller.plan import Plan, make_plan
from strictarp.controller.pools import Pool, parse_pools
from strictarp.doctor import announcers as announcing
from strictarp.doctor import proxying
from strictarp.doctor.announcers import METALLB, OURS, Announcer
from strictarp.doctor.objects import Objects
from strictarp.doctor.proxying import Proxying
from strictarp.doctor.workloads import Workload, workloads
from strictarp.kube.objects import ConfigMap
from strictarp.speaker import advertising
from strictarp.speaker.candidates import Facts, Options, Verdict, standings
from strictarp.speaker.membership import Presence, read_presence, segments
from strictarp.speaker.picture import Picture
from strictarp.speaker.pools import read_pool
from strictarp.wire.vips import IpAddress, service_vips

METALLB_NAMESPACE = "metallb-system"


class ClusterView(msgspec.Struct, frozen=True, dict=True):
    """What the API shows. What it amounts to is worked out once, when it is first asked for."""

    objects: Objects = Objects()

    # --- the service proxy --------------------------------------------------------------------------------

    @cached_property
    def installer(self) -> Installer:
        """Who installed the cluster, and where kube-proxy is configured."""
        return recognise(self.objects.signs)

    @cached_property
    def proxying(self) -> Proxying:
        """The service proxy, its mode and its setting."""
        return proxying.read(self.objects.signs, self.installer)

    @cached_property
    def minor(self) -> int | None:
        """The 36 of v1.36.2; None if it is not known."""
        match = re.match(r"v?1\.(\d{1,4})(?!\d)", self.objects.version)
        return int(match[1]) if match else None

    @cached_property
    def guards(self) -> tuple[str, ...]:
        """What keeps strictARP in force whatever the proxy's configuration says."""
        return tuple(each.title for each in self.workloads if each.strictarp("guard") is not None)

    # --- announcers ---------------------------------------------------------------------------------------

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """DaemonSets and static pods."""
        return workloads(self.objects.daemonsets, self.objects.pods)

    @cached_property
    def announcers(self) -> tuple[Announcer, ...]:
        """Who announces Service IPs."""
        objects = self.objects
        cilium = self.config_map("kube-system", "cilium-config")
        reachability = (each.spec.local_subnet_l2_reachability for each in objects.felix)
        given = announcing.Setting(
            cilium=(cilium.data or {}) if cilium else {},
            cilium_policies=sum(each.spec.load_balancer_ips for each in objects.cilium_policies),
            calico_reachability=next((each for each in reachability if each), ""),
            speakers=tuple(sorted(self.presences)),
            l2=len(objects.advertisements),
            bgp=len(objects.bgp_advertisements),
        )
        return announcing.found(self.workloads, given)

    def announcer(self, name: str) -> Announcer | None:
        """The first one of a product."""
        return next((each for each in self.announcers if each.name == name), None)

    @cached_property
    def presences(self) -> Mapping[str, Presence]:
        """Node → what the Lease of its speaker says."""
        found = map(read_presence, self.objects.leases)
        return {each.node: each for each in found if each is not None}

    @cached_property
    def namespace(self) -> str:
        """That of pools and advertisements: where they are, else where their announcer is, else the usual."""
        spaces = sorted({each.metadata.namespace for each in self.objects.pools})
        if spaces:
            return METALLB_NAMESPACE if METALLB_NAMESPACE in spaces else spaces[0]
        homes = [
            each.namespace for each in self.announcers if each.name in (METALLB, OURS) and each.namespace
        ]
        return homes[0] if homes else METALLB_NAMESPACE

    @cached_property
    def lb_class(self) -> str:
        """The loadBalancerClass that the controller of the pools serves, as its announcer says."""
        return next((each.serves for each in self.announcers if each.name in (METALLB, OURS)), "")

    @property
    def uses_pools(self) -> bool:
        """Somebody here gives addresses out from IPAddressPools."""
        return bool(self.objects.pools) or any(each.name in (METALLB, OURS) for each in self.announcers)

    # --- pools and Services -------------------------------------------------------------------------------

    @cached_property
    def parsed_pools(self) -> tuple[Pool, ...]:
        """The pools as the controller reads them; items that cannot be read are left out."""
        here = (each for each in self.objects.pools if each.metadata.namespace == self.namespace)
        return parse_pools(here, self.objects.namespaces)[0]

    @cached_property
    def plan(self) -> Plan:
        """What the controller would decide."""
        objects = self.objects
        everything = (
            *objects.services,
            *objects.namespaces,
            *objects.nodes,
            *objects.pools,
            *objects.conflicts,
        )
        return make_plan(everything, rules=Rules(self.namespace, self.lb_class))

    @cached_property
    def verdicts(self) -> Mapping[str, Verdict]:
        """What the speakers would hold of each Service, with one on every node that has one."""
        return speakers_verdicts(self)

    @cached_property
    def vips(self) -> Mapping[IpAddress, tuple[str, ...]]:
        """Each address that Services show to the outside → its Services."""
        return service_vips(self.objects.services)

    @cached_property
    def vip_subjects(self) -> tuple[str, ...]:
        """All of them as subjects of findings."""
        return tuple(f"VIP {each}" for each in self.vips)

    @cached_property
    def node_of_address(self) -> Mapping[str, str]:
        """Address of a Node object → the node."""
        return {
            entry.address: node.metadata.name
            for node in self.objects.nodes
            for entry in node.status.addresses or ()
            if entry.type in ("InternalIP", "ExternalIP")
        }

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        """One by name."""
        return next(
            (
                each
                for each in self.objects.configmaps
                if each.metadata.name == name and each.metadata.namespace == namespace
            ),
            None,
        )


def speakers_verdicts(view: ClusterView) -> Mapping[str, Verdict]:
    """The speakers' own judgement; where no speaker is known (MetalLB's have no Lease), one on every node."""
    objects = view.objects
    nodes = {each.metadata.name: each for each in objects.nodes}
    pools = tuple(read_pool(each)[0] for each in objects.pools if each.metadata.namespace == view.namespace)
    options = Options(view.lb_class)
    facts = Facts(
        pools,
        advertising.resolve(
            (each for each in objects.advertisements if each.metadata.namespace == view.namespace),
            pools,
            nodes,
        ),
        standings(frozenset(view.presences) or frozenset(nodes), nodes, segments(view.presences), options),
        options,
    )
    picture = Picture()
    picture.put_facts(facts)
    for service in objects.services:
        picture.put_service(service.key, service)
    for each in objects.slices:
        picture.put_slice(None, each)
    picture.judge()
    return dict(sorted(picture.verdicts.items()))
