"""Who announces Service IPs on the wire in this cluster: MetalLB, ourselves, and the others. Pure.

Recognised by images, flags and configuration; what each of them serves is as of its version of mid-2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from strictarp.cluster.signs import flag
from strictarp.doctor.kinds import Container
from strictarp.doctor.workloads import (
    Workload,
    env,
    is_true,
    of_programs,
    program,
    setting,
    words,
)

METALLB, OURS, KUBE_VIP, SERVICELB = "MetalLB", "strictarp", "kube-vip", "k3s ServiceLB"
PURELB, OPENELB, LOXILB, CILIUM, CALICO = "PureLB", "OpenELB", "LoxiLB", "Cilium", "Calico"
ANY = "*"
"""`Announcer.serves`: whatever class a Service has, or none."""

_MIRRORED = ("mirrored-kube-vip-kube-vip", "mirrored-kube-vip-kube-vip-iptables")

Way: TypeAlias = Literal["speaker", "kernel", "bgp", "nodes"]


class Announcer(msgspec.Struct, frozen=True):
    """One of them.

    way: answers ARP itself (`speaker`), puts the IPs on an interface for the kernel to answer (`kernel`),
    tells routers (`bgp`), or uses the nodes' own addresses (`nodes`). serves: the loadBalancerClass of its
    Services, "" for those without one, ANY. where: what runs it, for people. namespace, workload: of that.
    settings: what checks ask for, by names of their own.
    """

    name: str
    way: Way
    serves: str
    where: str
    namespace: str = ""
    workload: str = ""
    settings: Mapping[str, str] = {}

    @property
    def layer2(self) -> bool:
        """Something of it answers ARP for Service IPs."""
        return self.way in ("speaker", "kernel")

    def takes(self, lb_class: str) -> bool:
        """It serves Services of this class ("" for none)."""
        return self.serves in (ANY, lb_class)


class Setting(msgspec.Struct, frozen=True):
    """What is not a workload and says that something announces: see `found`."""

    cilium: Mapping[str, str] = {}
    cilium_policies: int = 0
    calico_reachability: str = ""
    speakers: tuple[str, ...] = ()
    l2: int = 0
    bgp: int = 0


def found(all_workloads: tuple[Workload, ...], given: Setting) -> tuple[Announcer, ...]:
    """All announcers, one for each workload; static pods of one product count once.

    given: ConfigMap cilium-config, how many CiliumL2AnnouncementPolicies, FelixConfiguration's
    localSubnetL2Reachability, nodes with a Lease of our speaker, how many L2 and BGP advertisements.
    """
    announcers = [each for look in _LOOKS for each in look(all_workloads, given)]
    by_kind: dict[tuple[str, Way, str, str], Announcer] = {}
    for each in announcers:
        kind = "" if not each.where.startswith("static pod") else each.name
        by_kind.setdefault((each.name, each.way, each.serves, kind or each.where), each)
    return tuple(by_kind.values())


def _of(
    name: str, way: Way, workload: Workload, serves: str = "", settings: Mapping[str, str] | None = None
) -> Announcer:
    return Announcer(
        name, way, serves, workload.title, workload.namespace, workload.name, dict(settings or {})
    )


def _metallb(all_workloads: tuple[Workload, ...], given: Setting) -> Iterator[Announcer]:
    for each, container in _metallb_speakers(all_workloads):
        settings = {
            "memberlist": setting(container, "ml-bindaddr", "METALLB_ML_BIND_ADDR"),
            "secret": setting(container, "ml-secret-key-path", "METALLB_ML_SECRET_KEY_PATH"),
            "container": container.name,
        }
        # An address from the downward API has no value in the template, but it is set.
        told = {
            name: "set" if value == "" else value for name, value in settings.items() if value is not None
        }
        way: Way = "bgp" if given.bgp and not given.l2 else "speaker"
        yield _of(METALLB, way, each, flag(words(container), "lb-class") or "", told)


def _metallb_speakers(all_workloads: tuple[Workload, ...]) -> Iterator[tuple[Workload, Container]]:
    """By image, also of mirrors and vendors (mirrored-metallb-speaker, metallb-rhel9)."""
    for each in all_workloads:
        for container in each.containers:
            names = (program(container.image), container.name)
            if "metallb" in container.image and any("speaker" in name for name in names):
                yield each, container
                break


def _ours(all_workloads: tuple[Workload, ...], given: Setting) -> Iterator[Announcer]:
    seen = False
    for each in all_workloads:
        container = each.strictarp("speaker")
        if container is not None:
            seen = True
            yield _of(OURS, "speaker", each, flag(words(container), "lb-class") or "")
    if given.speakers and not seen:
        more = f" and {len(given.speakers) - 1} more" if len(given.speakers) > 1 else ""
        yield Announcer(OURS, "speaker", "", f"the speaker on {given.speakers[0]}{more}")


def _kube_vip(all_workloads: tuple[Workload, ...], _: Setting) -> Iterator[Announcer]:
    for each, container in of_programs(all_workloads, "kube-vip", "kube-vip-iptables", *_MIRRORED):
        if not is_true(setting(container, "services", "svc_enable")):
            continue  # the control plane's address only
        bgp = is_true(setting(container, "bgp", "bgp_enable"))
        only = is_true(setting(container, "lbClassOnly", "lb_class_only"))
        serves = (
            (setting(container, "lbClassName", "lb_class_name") or "kube-vip.io/kube-vip-class")
            if only
            else ""
        )
        interface = setting(container, "serviceInterface", "vip_servicesinterface") or setting(
            container, "interface", "vip_interface"
        )
        yield _of(KUBE_VIP, "bgp" if bgp else "kernel", each, serves, {"interface": interface or ""})


def _purelb(all_workloads: tuple[Workload, ...], _: Setting) -> Iterator[Announcer]:
    for each, _container in of_programs(all_workloads, "lbnodeagent"):
        yield _of(PURELB, "kernel", each)


def _openelb(all_workloads: tuple[Workload, ...], _: Setting) -> Iterator[Announcer]:
    for each, _container in of_programs(all_workloads, "openelb", "openelb-speaker"):
        yield _of(OPENELB, "speaker", each, "lb.kubesphere.io/openelb")


def _loxilb(all_workloads: tuple[Workload, ...], _: Setting) -> Iterator[Announcer]:
    for each, _container in of_programs(all_workloads, "loxilb"):
        yield _of(LOXILB, "speaker", each, "loxilb.io/loxilb")


def _servicelb(all_workloads: tuple[Workload, ...], _: Setting) -> Iterator[Announcer]:
    for each in all_workloads:
        if any(key == "svccontroller.k3s.cattle.io/svcname" for key, _ in each.labels):
            yield Announcer(SERVICELB, "nodes", "", "the DaemonSets svclb-*", each.namespace)
            return


def _cilium(_: tuple[Workload, ...], given: Setting) -> Iterator[Announcer]:
    if is_true(given.cilium.get("enable-l2-announcements")) and given.cilium_policies:
        yield Announcer(CILIUM, "speaker", "", "CiliumL2AnnouncementPolicy", "kube-system", "cilium")


def _calico(_: tuple[Workload, ...], given: Setting) -> Iterator[Announcer]:
    if given.calico_reachability == "PodsAndLoadBalancers":
        yield Announcer(CALICO, "speaker", ANY, "FelixConfiguration default, localSubnetL2Reachability")


_LOOKS: tuple[Callable[[tuple[Workload, ...], Setting], Iterator[Announcer]], ...] = (
    _metallb,
    _ours,
    _kube_vip,
    _purelb,
    _openelb,
    _loxilb,
    _servicelb,
    _cilium,
    _calico,
)


def keepalived(all_workloads: tuple[Workload, ...]) -> tuple[Workload, ...]:
    """What runs keepalived: it puts addresses of its own on interfaces."""
    return tuple(
        each
        for each in all_workloads
        if any(program(one.image) in {"keepalived", "keepalived-vip"} for one in each.containers)
        or any(env(one, "KEEPALIVED_INTERFACE") is not None for one in each.containers)
    )
