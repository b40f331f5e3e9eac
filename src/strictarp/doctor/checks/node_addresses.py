"""SA3xx: addresses where they should not be, or are not where they should be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from strictarp.arp.decision import Rule
from strictarp.arp.facts import LOOPBACK, VIP_DEVICE, Address, dotted
from strictarp.arp.frames import mac_text
from strictarp.arp.losses import is_enslaved
from strictarp.doctor.check import NODES, Check, Severity, Sighting
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.node.agents import BINDERS
from strictarp.doctor.node.knowing import (
    answerable,
    asked,
    enumerated,
    node_check,
    on,
    restart_proxy,
    service_mode,
    sharing,
    uplinks,
    vip_subject,
)
from strictarp.doctor.node.scene import Scene, on_link
from strictarp.doctor.node.view import NodeView

_PROXYS = (VIP_DEVICE, "kube-dummy-if")
"""Where kube-proxy (ours too) and kube-router bind all Service IPs."""
_IGNORED = (Rule.IGNORE_NOT_ON_DEVICE, Rule.IGNORE_OTHER_SUBNET, Rule.IGNORE_ALL)


def _bound(view: NodeView, scene: Scene) -> Iterator[Address]:
    """VIPs that another device than a proxy's own holds, and that are not some node's own address."""
    candidates = scene.vips - scene.own_addresses.keys()
    for each in view.host.addresses:
        if each.device not in _PROXYS and each.local in candidates:
            yield each


def _on_interface(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    if view.runs(*BINDERS):
        return
    held: dict[str, list[Address]] = {}
    for each in _bound(view, scene):
        if each.device != LOOPBACK:
            held.setdefault(each.device, []).append(each)
    for device, addresses in held.items():
        yield Sighting(
            on(view, device),
            f"{enumerated(each.local for each in addresses)} is bound on {device}, and nothing that binds "
            f"addresses ({', '.join(BINDERS)}) runs on this node",
            "; ".join(f"ip addr del {each.text} dev {device}" for each in addresses),
            tuple(vip_subject(each.local) for each in addresses),
        )


def _silent_on_loopback(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    for each in _bound(view, scene):
        if each.device != LOOPBACK:
            continue
        silent = [
            device
            for device in uplinks(view, scene)
            if on_link(view.host, each.local, device)
            and all(one.rule in _IGNORED for one in asked(view.host, device, each.local))
        ]
        if silent:
            levels = ", ".join(f"{device}: {view.host.conf('arp_ignore', device)}" for device in silent)
            yield Sighting(
                on(view),
                f"{dotted(each.local)} is bound on lo, in the subnet of {', '.join(silent)}; effective "
                f"arp_ignore there ({levels}) lets the kernel answer for addresses of {silent[0]} alone",
                f"announce it by BGP only and use a range outside of the subnet, or bind it on {silent[0]}: "
                f"ip addr add {dotted(each.local)}/32 dev {silent[0]}",
                (vip_subject(each.local),),
            )


def _answered_by(view: NodeView, scene: Scene) -> Mapping[int, str]:
    """Service IPs for which this node's kernel answers because another device than kube-ipvs0 holds them."""
    found: dict[int, str] = {}
    for each in _bound(view, scene):
        for device in uplinks(view, scene):
            on_device = each.device == device or on_link(view.host, each.local, device)
            if on_device and any(one.answered for one in asked(view.host, device, each.local)):
                found[each.local] = each.device
    return found


def _twice(evidence: Evidence) -> Iterator[Sighting]:
    scene = evidence.scene
    holders: dict[int, list[tuple[str, str]]] = {}
    for name in sorted(evidence.nodes):
        for vip, device in _answered_by(evidence.nodes[name], scene).items():
            holders.setdefault(vip, []).append((name, device))
    for vip, places in sorted(holders.items()):
        if len(places) > 1:
            shown = ", ".join(f"{node} ({device})" for node, device in places)
            yield Sighting(
                vip_subject(vip),
                f"bound, and answered by the kernel, on {shown}",
                f"on all but its owner: ip addr del {dotted(vip)}/32 dev {places[-1][1]}",
            )


def _own_address(evidence: Evidence) -> Iterator[Sighting]:
    scene = evidence.scene
    for vip in sorted(scene.vips & scene.own_addresses.keys()):
        owner = scene.own_addresses[vip]
        others = [
            name
            for name in sorted(evidence.nodes)
            if name != owner
            and any(each.local == vip for each in evidence.nodes[name].host.on_device.get(VIP_DEVICE, ()))
        ]
        if others:
            yield Sighting(
                vip_subject(vip),
                f"it is the own address of node {owner}, and bound on {VIP_DEVICE} of {', '.join(others[:4])}"
                f"{f' and {len(others) - 4} more' if len(others) > 4 else ''}",
                "take it out of the Services' externalIPs (or the pool), and use an address of no node",
            )


def _left_over(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    held = [each.local for each in view.host.on_device.get(VIP_DEVICE, ())]
    mode = service_mode(view, scene)
    if held and mode not in ("", "ipvs"):
        told = "no proxy runs here" if mode == "none" else f"the proxy's mode is {mode}"
        yield Sighting(
            on(view),
            f"{VIP_DEVICE} holds {enumerated(held)}, and {told}",
            f"kube-proxy --cleanup   # or `ip link del {VIP_DEVICE}`, and `ipvsadm -D` for each of its "
            "virtual servers",
            tuple(vip_subject(vip) for vip in sorted(set(held) & scene.vips)),
        )


def _missing(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    if (
        service_mode(view, scene) == "ipvs"
        and VIP_DEVICE not in view.host.by_name
        and not view.runs("kube-router")
    ):
        yield Sighting(
            on(view),
            f"the proxy's mode is ipvs, and there is no {VIP_DEVICE}",
            "kubectl -n kube-system logs $(kubectl -n kube-system get pods -o name -l k8s-app=kube-proxy "
            f"--field-selector spec.nodeName={view.node})   # it says what it lacks",
        )


def _not_bound(evidence: Evidence) -> Iterator[Sighting]:
    scene = evidence.scene
    holding = {
        name: frozenset(each.local for each in view.host.on_device.get(VIP_DEVICE, ()))
        for name, view in evidence.nodes.items()
        if VIP_DEVICE in view.host.by_name and service_mode(view, scene) in ("", "ipvs")
    }
    everywhere = frozenset[int]().union(*holding.values()) & scene.vips
    for name in sorted(holding):
        missing = everywhere - holding[name] - evidence.nodes[name].host.local_addresses
        if missing:
            yield Sighting(
                f"node {name}",
                f"{enumerated(missing)} is bound on {VIP_DEVICE} of other nodes, and not here",
                restart_proxy(evidence.nodes[name]),
                tuple(vip_subject(vip) for vip in sorted(missing)),
            )


def _flux(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    host = view.host
    for address, device in answerable(view, scene):
        places = dict.fromkeys((device, *sharing(host, address)))
        answers = [each.answer for name in places for each in asked(host, name, address) if each.answer]
        macs = {each.mac: each.device for each in answers}
        if len(macs) > 1:
            shown = ", ".join(f"{name} ({mac_text(mac)})" for mac, name in macs.items())
            yield Sighting(
                on(view, device),
                f"its address {dotted(address)} is answered by {shown}, which are in one subnet",
                "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2; or make the "
                "interfaces one bond",
            )


def _on_port(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    host = view.host
    for each in host.addresses:
        device = host.by_name[each.device]
        if not is_enslaved(host, device):
            continue
        master = host.by_name[device.master]
        address = each.text
        yield Sighting(
            on(view, device.name),
            f"it is a port of the {master.kind} {master.name} and holds {address}: requests arrive at "
            f"{master.name}, which at arp_ignore {host.conf('arp_ignore', master.name)} "
            f"{'answers' if host.conf('arp_ignore', master.name) == 0 else 'does not answer'} for it",
            f"ip addr add {address} dev {master.name} && ip addr del {address} dev {device.name}",
        )


CHECKS = (
    node_check(
        "SA301",
        "A Service IP is bound on an interface, and nothing there moves it",
        Severity.ERROR,
        why="The kernel answers for every address of the interface itself, with strictARP as well: a second "
        "answerer beside the owner.",
        look=_on_interface,
    ),
    node_check(
        "SA302",
        "A Service IP on lo is not answered",
        Severity.WARNING,
        why="With strictARP a kernel answers for addresses of the receiving interface only: what is bound "
        "on lo "
        "(as kube-vip does for BGP) cannot be reached from its own subnet.",
        look=_silent_on_loopback,
    ),
    Check(
        "SA303",
        "Several nodes have bound one Service IP",
        Severity.ERROR,
        "Each of them answers with its own MAC.",
        NODES,
        _twice,
        ("SA301",),
    ),
    Check(
        "SA304",
        "A Service IP is a node's own address",
        Severity.WARNING,
        "Every other node takes what is meant for that node for its own, drops its requests for ARP, and "
        "without "
        "strictARP answers in its place; the node itself always answers.",
        NODES,
        _own_address,
    ),
    node_check(
        "SA305",
        "kube-ipvs0 was left over",
        Severity.ERROR,
        why="The addresses on it are local although nothing serves them: connections from this node end "
        "here, and "
        "its kernel may answer ARP for them.",
        look=_left_over,
    ),
    node_check(
        "SA306",
        "kube-ipvs0 is missing",
        Severity.ERROR,
        why="Without it no Service IP is local, and IPVS sees no packet.",
        look=_missing,
        causes=("SA411",),
    ),
    Check(
        "SA307",
        "A node lacks Service IPs that the others have",
        Severity.WARNING,
        "Its proxy is behind: when the node becomes the owner, it answers ARP and forwards nothing.",
        NODES,
        _not_bound,
        ("SA305",),
    ),
    node_check(
        "SA308",
        "Several interfaces answer for one address of a node",
        Severity.WARNING,
        why="ARP flux: neighbours learn now the one MAC, now the other; a broken link goes unnoticed.",
        look=_flux,
    ),
    node_check(
        "SA309",
        "A port of a bridge or bond holds an address",
        Severity.WARNING,
        why="The kernel sees requests on the bridge or bond, not on its port: with strictARP the address "
        "falls silent.",
        look=_on_port,
    ),
)
