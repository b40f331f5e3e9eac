"""SA405 to SA414: links that change, lose or double ARP, and programs that do. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from strictarp.arp.facts import VIP_DEVICE, dotted
from strictarp.doctor.check import Severity, Sighting
from strictarp.doctor.node.agents import ANNOUNCERS, BINDERS
from strictarp.doctor.node.knowing import entries, node_check, on, service_mode, uplinks
from strictarp.doctor.node.scene import Scene
from strictarp.doctor.node.view import NodeView

_REWRITES = {
    "balance-alb": "it answers different clients with the MACs of different slaves, and rewrites ARP replies",
    "balance-tlb": "what it sends leaves by different slaves with their own MACs, replies of the speaker too",
}
_SHARED = ("macvlan", "ipvlan")
_DEAF_DRIVERS = ("brcmfmac", "brcmsmac")
"""Wi-Fi of Raspberry Pis: it answers ARP by itself, or drops broadcasts while asleep."""
_KEEPS = ("yes", "true", "1", "on", "static")
"""Values of KeepConfiguration with which networkd leaves static foreign addresses (systemd.network(5))."""


def _balanced(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    for device in uplinks(view, scene):
        bond = view.host.by_name[device]
        lower = view.host.by_name.get(bond.lower)
        bond = lower if lower is not None and lower.kind == "bond" else bond
        if bond.kind == "bond" and bond.mode in _REWRITES:
            yield Sighting(
                on(view, device),
                f"bond {bond.name} has mode {bond.mode}: {_REWRITES[bond.mode]}",
                "use active-backup or 802.3ad: `mode` of the bond in the network's configuration (Netplan, "
                "NetworkManager, ifupdown)",
            )


def _child(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    for device in uplinks(view, scene):
        found = view.host.by_name[device]
        if found.kind in _SHARED:
            yield Sighting(
                on(view, device),
                f"it is a {found.kind} ({found.mode or 'mode unknown'}) on "
                f"{found.lower or 'a parent elsewhere'}",
                "announce on a NIC, bond, bridge or VLAN of the node itself; if it must be a macvlan, "
                "leave its parent "
                "without addresses",
            )


def _wireless(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    for device in uplinks(view, scene):
        for name in entries(view.host, device):
            nic = view.nic.get(name)
            if nic is None or nic.promiscuous or not (nic.wireless or nic.driver in _DEAF_DRIVERS):
                continue
            yield Sighting(
                on(view, name),
                f"it is wireless (driver {nic.driver or 'unknown'}) and not promiscuous",
                f"ip link set {name} promisc on",
            )


def _without_carrier(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    for device in uplinks(view, scene):
        found = view.host.by_name[device]
        if not found.up or not found.carrier:
            yield Sighting(
                on(view, device),
                "it is down" if not found.up else "it has no carrier",
                f"ip link set {device} up"
                if not found.up
                else f"look at cable and switch: ip -s link show {device}",
            )


def _without_arp(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    for device in uplinks(view, scene):
        found = view.host.by_name[device]
        if not found.arp and any(found.mac):
            yield Sighting(on(view, device), "ARP is off on it (NOARP)", f"ip link set {device} arp on")


def _suppressing(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    for device in uplinks(view, scene):
        for name in entries(view.host, device):
            nic = view.nic.get(name)
            if nic is not None and nic.suppresses:
                yield Sighting(
                    on(view, name),
                    f"neigh_suppress is on at this port of {device}: the bridge answers in place of "
                    "others, from "
                    "its own neighbour table",
                    f"bridge link set dev {name} neigh_suppress off",
                )


def _no_module(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    if service_mode(view, scene) == "ipvs" and view.ipvs in ("missing", "loadable"):
        yield Sighting(
            on(view),
            f"the proxy's mode is ipvs, and the module ip_vs is {_MODULE[view.ipvs]} (kernel {view.kernel})",
            "modprobe ip_vs && echo ip_vs > /etc/modules-load.d/ip_vs.conf"
            if view.ipvs == "loadable"
            else "install the kernel's package with all modules (linux-modules-extra, kernel-modules-extra)",
        )


_MODULE = {"missing": "not there", "loadable": "not loaded"}


def _rivals(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    running = {each.name: each for each in view.runs(*ANNOUNCERS) if _serves(view, scene, each.name)}
    if len(running) > 1:
        shown = ", ".join(f"{ANNOUNCERS[name]} (PID {running[name].pid})" for name in sorted(running))
        yield Sighting(
            on(view),
            f"several announcers of Service IPs run here: {shown}",
            "see that no IP is served by two of them (loadBalancerClass, separate ranges), or remove one",
        )


def _serves(view: NodeView, scene: Scene, agent: str) -> bool:
    """It announces Service IPs, as far as can be seen: kube-vip and the like may hold the API's IP only."""
    if agent not in BINDERS or agent == "purelb":
        return True
    meant = {each for one in view.keepalived for each in one.addresses} if agent == "keepalived" else set()
    held = {dotted(each.local) for each in view.host.addresses if each.device != VIP_DEVICE}
    return any(dotted(vip) in meant or dotted(vip) in held for vip in scene.vips)


def _forgetting(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    binders = sorted({each.name for each in view.runs(*BINDERS)})
    for each in view.networkd if binders and view.runs("systemd-networkd") else ():
        if each.interface in uplinks(view, scene) and each.keep not in _KEEPS:
            said = f"KeepConfiguration={each.keep}" if each.keep else "no KeepConfiguration"
            name = each.file.rpartition("/")[2]
            yield Sighting(
                on(view, each.interface),
                f"systemd-networkd manages it by {each.file}, with {said}, and {', '.join(binders)} adds "
                "addresses",
                f"mkdir -p /etc/systemd/network/{name}.d && printf "
                "'[Network]\\nKeepConfiguration=static\\n' > "
                f"/etc/systemd/network/{name}.d/keep.conf && networkctl reload",
            )


def _virtual_macs(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    if not view.runs("keepalived"):
        return
    for each in view.keepalived:
        if each.vmac and each.interface in uplinks(view, scene):
            yield Sighting(
                on(view, each.interface),
                f"keepalived's vrrp_instance {each.name} has use_vmac: it sets arp_ignore=1, arp_filter=1 on "
                f"{each.interface}, and when it ends it restores 0 or 1, never 2",
                "set strictARP on conf.all rather than on the interface, or take use_vmac away",
            )


CHECKS = (
    node_check(
        "SA405",
        "A bond changes ARP replies",
        Severity.WARNING,
        why="Clients learn the MAC of a slave: after a move or the end of that slave they keep sending "
        "there.",
        look=_balanced,
    ),
    node_check(
        "SA406",
        "An uplink is a macvlan or ipvlan",
        Severity.WARNING,
        why="Parent and child hear every broadcast: without strictARP two answers leave for one address, and "
        "what the host itself sends never reaches its own children.",
        look=_child,
    ),
    node_check(
        "SA407",
        "A wireless uplink may not hear requests",
        Severity.WARNING,
        why="Such hardware filters broadcasts for addresses that it does not know: a speaker is deaf, "
        "unless the "
        "interface is promiscuous.",
        look=_wireless,
    ),
    node_check(
        "SA408",
        "An uplink is without carrier",
        Severity.WARNING,
        why="The node cannot answer for IPs of that subnet, and whoever elects by the API alone may still "
        "choose it.",
        look=_without_carrier,
    ),
    node_check(
        "SA409",
        "ARP is off on an uplink",
        Severity.ERROR,
        why="The kernel neither asks nor answers there, not for the node's own address; it does not "
        "silence Service "
        "IPs in any useful way.",
        look=_without_arp,
    ),
    node_check(
        "SA410",
        "A bridge answers ARP in place of others",
        Severity.WARNING,
        why="Its neighbour table may hold the IP's former owner, and the request never reaches the present "
        "one.",
        look=_suppressing,
    ),
    node_check(
        "SA411",
        "The module ip_vs is missing",
        Severity.ERROR,
        why="kube-proxy cannot program IPVS: it ends, or falls back to iptables.",
        look=_no_module,
    ),
    node_check(
        "SA412",
        "Several announcers run on one node",
        Severity.WARNING,
        why="Two products that serve the same IP elect two owners.",
        look=_rivals,
    ),
    node_check(
        "SA413",
        "systemd-networkd removes the addresses that an announcer adds",
        Severity.WARNING,
        why="When networkd starts again (an upgrade does) or reconfigures the interface, it removes "
        "addresses that "
        "are not its own.",
        look=_forgetting,
    ),
    node_check(
        "SA414",
        "keepalived changes the ARP sysctls of an uplink",
        Severity.WARNING,
        why="With use_vmac it sets arp_ignore and arp_filter of the parent interface, and its memory of "
        "the former "
        "value holds only 0 and 1.",
        look=_virtual_macs,
    ),
)
