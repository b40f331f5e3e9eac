"""What follows from a node's view, and from all of them together. Pure; used by the checks of nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from strictarp.arp.decision import Decision
from strictarp.arp.explaining import ASKER_MAC, assumed_asker
from strictarp.arp.facts import Host, dotted
from strictarp.arp.losses import is_enslaved
from strictarp.arp.packets import Packet
from strictarp.arp.receiving import receive
from strictarp.doctor.check import NODES, Check, Severity, Sighting
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.node.agents import PROXIES
from strictarp.doctor.node.proxy_files import truth
from strictarp.doctor.node.scene import Scene, is_plain, on_link
from strictarp.doctor.node.view import NodeView
from strictarp.sysctl.effective import strictarp_in_force

_GUARD, _OUR_PROXY = "strictarp guard", "strictarp proxy"
"""They put strictARP back within seconds."""

Look = Callable[[NodeView, Scene], Iterable[Sighting]]
"""What one node shows of a problem."""


def node_check(
    code: str,
    title: str,
    severity: Severity,
    *,
    why: str,
    look: Look,
    causes: tuple[str, ...] = (),
    explains: Callable[[Sighting, Sighting], bool] | None = None,
) -> Check:
    """A check that looks at one node after the other."""

    def each_node(evidence: Evidence) -> Iterator[Sighting]:
        for name in sorted(evidence.nodes):
            yield from look(evidence.nodes[name], evidence.scene)

    return Check(code, title, severity, why, NODES, each_node, causes, explains)


def on(view: NodeView, device: str = "") -> str:
    """The subject: `node n1`, or `node n1 interface eth0`."""
    return f"node {view.node} interface {device}" if device else f"node {view.node}"


def vip_subject(address: int) -> str:
    """`VIP 192.0.2.10`."""
    return f"VIP {dotted(address)}"


def same_node(cause: Sighting, effect: Sighting) -> bool:
    """For `Check.explains`: both are about one node, or about interfaces of it."""
    return cause.subject.split(" ")[:2] == effect.subject.split(" ")[:2]


def enumerated(addresses: Iterable[int], most: int = 4) -> str:
    """`192.0.2.1, 192.0.2.2 and 17 more`."""
    ordered = sorted(addresses)
    shown = ", ".join(dotted(each) for each in ordered[:most])
    return f"{shown} and {len(ordered) - most} more" if len(ordered) > most else shown


# --- addresses ---------------------------------------------------------------------------------------------


def local_vips(view: NodeView, scene: Scene) -> frozenset[int]:
    """Addresses that kube-ipvs0 alone holds here and that clients ask for by ARP."""
    return view.host.vips & scene.vips


# --- interfaces --------------------------------------------------------------------------------------------


def uplinks(view: NodeView, scene: Scene) -> tuple[str, ...]:
    """Interfaces that clients come in by: with a default route, or in the subnet of a VIP."""
    return scene.uplinks[view.node]


def entries(host: Host, device: str) -> tuple[str, ...]:
    """Where frames for an interface come in: the ports of a bridge, the slaves of a bond, or itself."""
    ports = [each.name for each in host.devices if each.master == device and is_enslaved(host, each)]
    wired = [name for name in ports if host.by_name[name].kind != "veth"]
    return tuple(wired or ports or [device])


def sharing(host: Host, address: int) -> tuple[str, ...]:
    """Interfaces in whose subnet an address is: its neighbours ask on all of them."""
    return tuple(
        device.name
        for device in host.devices
        if is_plain(host, device) and device.up and on_link(host, address, device.name)
    )


def asked(host: Host, device: str, target: int) -> list[Decision]:
    """What comes of a broadcast request of a neighbour for `target` on a device."""
    packet = Packet(assumed_asker(host, device, target), target, ASKER_MAC, source=ASKER_MAC)
    return receive(host, device, packet)


def answerable(view: NodeView, scene: Scene) -> Iterator[tuple[int, str]]:
    """(address, device) of the node's own addresses on its uplinks, where a request can arrive."""
    host = view.host
    for device in uplinks(view, scene):
        found = host.by_name[device]
        if found.up and found.carrier and found.arp and any(found.mac):
            for each in host.on_device.get(device, ()):
                if each.prefix < 31 and each.local == each.peer:
                    yield each.local, device


# --- proxy and strictARP -----------------------------------------------------------------------------------


def service_mode(view: NodeView, scene: Scene) -> str:
    """How Services are programmed: "ipvs", "iptables", ..., "none" without a proxy, "" if it is not known.

    By what the node shows, else by the cluster.
    """
    cluster = scene.cluster
    told = cluster.proxying.mode if cluster is not None else ""
    return _mode_here(view) or ("" if told == "mixed" else told)


def _mode_here(view: NodeView) -> str:
    running = {each.name for each in view.runs(*PROXIES)}
    if _OUR_PROXY in running or _kube_router_proxies(view):
        return "ipvs"
    if not running - {"kube-router"}:
        return "none"
    said = [each.flags["proxy-mode"] for each in view.agents if "proxy-mode" in each.flags]
    said += [each.mode for each in view.proxy_settings if each.mode]
    if said:
        return said[0]
    read_all = running & {"k3s", "rke2", "kubelite"} or any(
        each.owner == "kube-proxy" for each in view.proxy_settings
    )
    return "iptables" if read_all else ""


def _kube_router_proxies(view: NodeView) -> bool:
    return any(each.flags.get("run-service-proxy", "true") == "true" for each in view.runs("kube-router"))


def strict_by_setting(view: NodeView) -> bool | None:
    """Whether what runs here sets strictARP when it starts; None if that is not known."""
    if view.runs(_GUARD) or _kube_router_proxies(view):
        return True
    flags = [each.flags["ipvs-strict-arp"] for each in view.agents if "ipvs-strict-arp" in each.flags]
    said = [truth(flag) for flag in flags]
    said += [each.strict for each in view.proxy_settings if each.strict is not None]
    if any(said):
        return True
    return False if said or view.proxy_settings or _mode_here(view) == "none" else None


def is_kept(view: NodeView) -> bool:
    """Something runs here that puts strictARP back when it drifts."""
    return bool(view.runs(_GUARD)) or (bool(view.runs(_OUR_PROXY)) and strict_by_setting(view) is not False)


def in_force(host: Host, device: str) -> bool:
    """strictARP is in force on an interface, by sysctls."""
    return bool(
        strictarp_in_force(
            host.own("arp_ignore", "all"),
            host.own("arp_ignore", device),
            all_announce=host.own("arp_announce", "all"),
            dev_announce=host.own("arp_announce", device),
        )
    )


_RESTARTS = {
    "k3s": "systemctl restart k3s   # k3s-agent on agents",
    "rke2": "systemctl restart rke2-server   # rke2-agent on agents",
    "kubelite": "snap restart microk8s.daemon-kubelite",
}


def restart_proxy(view: NodeView) -> str:
    """The command that starts the node's proxy again, as it is installed there."""
    for agent, command in _RESTARTS.items():
        if view.runs(agent):
            return f"on {view.node}: {command}"
    pod = "pod -l k8s-app=kube-proxy --field-selector"
    return f"kubectl -n kube-system delete {pod} spec.nodeName={view.node}"
