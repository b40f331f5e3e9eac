"""SA2xx: what the sysctls of nodes amount to now. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from strictarp.arp.decision import Rule
from strictarp.arp.explaining import ASKER_MAC, assumed_asker
from strictarp.arp.facts import Address, Host, dotted
from strictarp.arp.packets import Packet
from strictarp.arp.routing import Obstacle, input_route
from strictarp.arp.wording import sentence
from strictarp.doctor.check import NODES, Check, Severity, Sighting
from strictarp.doctor.checks.node_lasting import culprits
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.node import tables
from strictarp.doctor.node.knowing import (
    answerable,
    asked,
    enumerated,
    in_force,
    local_vips,
    node_check,
    on,
    restart_proxy,
    same_node,
    service_mode,
    sharing,
    uplinks,
    vip_subject,
)
from strictarp.doctor.node.scene import Scene, on_link
from strictarp.doctor.node.view import NodeView
from strictarp.sysctl.effective import Announce, Ignore, announce_level, hides_vips, ignore_level
from strictarp.sysctl.files import conf

_FAR_CLIENT = 0xC6336401
"""198.51.100.1: stands for a client of another network."""
_STRICT = "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"
_FILTERED = (Rule.FILTERED_INPUT, Rule.FILTERED_OUTPUT)


def _set(device: str, key: str, value: int) -> str:
    return f"sysctl -w {conf(device, key)}={value}"


def _kernel_answers(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    vips = local_vips(view, scene)
    if all(hides_vips(view.host.conf("arp_ignore", device.name)) for device in view.host.devices):
        return  # no device answers for what it does not hold: no need to ask for each VIP
    for device in uplinks(view, scene) if vips else ():
        answered = [vip for vip in vips if any(each.answered for each in asked(view.host, device, vip))]
        if not answered:
            continue
        values = {key: view.host.conf(key, device) for key in ("arp_ignore", "arp_announce")}
        yield Sighting(
            on(view, device),
            f"requests for {enumerated(answered)} are answered by the kernel: effective "
            f"arp_ignore={values['arp_ignore']}, "
            f"arp_announce={values['arp_announce']}{_by_whom(view, device)}",
            f"strictarp enable   # until then, here: {_STRICT}",
            tuple(vip_subject(vip) for vip in sorted(answered)),
        )


def _by_whom(view: NodeView, device: str) -> str:
    lines = culprits(view, device)
    return f"; {' and '.join(line.where for line in lines)} would undo it each time" if lines else ""


def _explains_answers(cause: Sighting, _: Sighting) -> bool:
    """A setting of the cluster explains it on every node."""
    return not cause.subject.startswith("node ")


def _own_value_defeats(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    everywhere = view.host.own("arp_ignore", "all")
    for device in uplinks(view, scene):
        own = view.host.own("arp_ignore", device)
        if hides_vips(everywhere) and not hides_vips(view.host.conf("arp_ignore", device)):
            yield Sighting(
                on(view, device),
                f"conf.{device}.arp_ignore={own} is above conf.all's {everywhere}, so it counts, and means: "
                f"answer {'all but addresses of scope host' if own == 3 else 'everything'}",
                _set(device, "arp_ignore", 0),
            )


def _sender(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    vips = local_vips(view, scene)
    everywhere = view.host.own("arp_announce", "all")
    for device in uplinks(view, scene) if vips else ():
        level = view.host.conf("arp_announce", device)
        if not hides_vips(view.host.conf("arp_ignore", device)):
            continue
        if announce_level(level) is Announce.BEST_OF_DEVICE:
            continue
        own = view.host.own("arp_announce", device)
        whose = device if own > everywhere else "all"
        yield Sighting(
            on(view, device),
            f"effective arp_announce={level} (conf.{whose}): requests of this node may carry a Service IP "
            "as sender",
            f"{_set(device, 'arp_announce', 0)} {conf('all', 'arp_announce')}=2"
            if own > 2
            else _set("all", "arp_announce", 2),
        )


def _nodes_differ(evidence: Evidence) -> Iterator[Sighting]:
    scene = evidence.scene
    groups: dict[str, list[NodeView]] = {}
    for name in sorted(evidence.nodes):
        view = evidence.nodes[name]
        if local_vips(view, scene):
            states = sorted({in_force(view.host, device) for device in uplinks(view, scene)})
            words = {(): "no uplink", (True,): "in force", (False,): "not in force"}
            groups.setdefault(words.get(tuple(states), "in force on some uplinks"), []).append(view)
    if len(groups) < 2:
        return
    common = max(groups, key=lambda state: (len(groups[state]), state == "in force"))
    names = ", ".join(view.node for view in groups[common][:4])
    for state, views in groups.items():
        for view in views if state != common else ():
            values = " ".join(f"{key}={view.host.own(key, 'all')}" for key in ("arp_ignore", "arp_announce"))
            yield Sighting(
                on(view),
                f"strictARP is {state} here (conf.all: {values}), and {common} on {names}",
                restart_proxy(view) if common == "in force" else "strictarp enable",
            )


def _leaking_default(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    host = view.host
    value = host.own("arp_ignore", "default")
    if ignore_level(value) is not Ignore.ANSWER and not hides_vips(host.own("arp_ignore", "all")):
        yield Sighting(
            on(view),
            f"conf.default.arp_ignore={value}, and conf.all.arp_ignore={host.own('arp_ignore', 'all')}: "
            "interfaces "
            "that are made from now on have it, those of pods too, and the present ones have not",
            _set("default", "arp_ignore", 0),
        )


def _inherited(evidence: Evidence) -> Iterator[Sighting]:
    leaking = [
        view.node
        for view in evidence.nodes.values()
        if hides_vips(view.host.own("arp_ignore", "all")) and view.numbers.get(tables.INHERIT, 2) in (0, 1)
    ]
    if leaking:
        modes = sorted({evidence.nodes[name].numbers[tables.INHERIT] for name in leaking})
        yield Sighting(
            "nodes",
            f"{tables.INHERIT}={', '.join(map(str, modes))} on {', '.join(sorted(leaking))}: the network "
            "namespace of every pod made now begins with the node's conf.all.arp_ignore and arp_announce",
            f"only if pods have addresses on lo or on another interface: sysctl -w {tables.INHERIT}=2",
        )


def _silent_node(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    for device in uplinks(view, scene):
        if ignore_level(view.host.conf("arp_ignore", device)) is Ignore.SILENT:
            whose = "all" if view.host.own("arp_ignore", "all") == Ignore.SILENT.value else device
            yield Sighting(
                on(view, device),
                f"conf.{whose}.arp_ignore=8: the kernel answers for nothing here, not for the node's own "
                "address",
                _set(whose, "arp_ignore", 1),
            )


def _other_subnets(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    for device in uplinks(view, scene):
        if ignore_level(view.host.conf("arp_ignore", device)) is not Ignore.OWN_DEVICE_AND_SUBNET:
            continue
        networks = _link_networks(view.host, device)
        if len(networks) > 1:
            whose = "all" if view.host.own("arp_ignore", "all") == 2 else device
            yield Sighting(
                on(view, device),
                f"arp_ignore=2, and {', '.join(networks)} are on one link: who asks from the one for an "
                "address in "
                "the other gets no answer",
                _set(whose, "arp_ignore", 1),
            )


def _link_networks(host: Host, device: str) -> list[str]:
    """Networks that are directly on the link: of addresses, and of routes without a gateway."""
    found = [each.network for each in host.on_device.get(device, ()) if each.prefix < 32]
    found += [
        Address(device, route.destination, route.destination, route.prefix).network
        for route in host.routes
        if route.kind == "unicast"
        and route.prefix
        and any(hop.device == device and not hop.gateway for hop in route.hops)
    ]
    return list(dict.fromkeys(found))


def _unanswered(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    host = view.host
    for address, device in answerable(view, scene):
        decisions = [each for name in sharing(host, address) for each in asked(host, name, address)]
        rules = {each.rule for each in decisions}
        if any(each.answered for each in decisions) or rules & {*_FILTERED, Rule.IGNORE_ALL, Rule.LINK_DOWN}:
            continue
        packet = Packet(assumed_asker(host, device, address), address, ASKER_MAC, source=ASKER_MAC)
        why = "; ".join(dict.fromkeys(f"{each.device}: {sentence(host, packet, each)}" for each in decisions))
        yield Sighting(
            on(view, device),
            f"its address {dotted(address)} is answered on no interface. {why}",
            f"strictarp explain --in {device} --ip {dotted(address)}   # names each command that mends it",
        )


def _asymmetric(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    host = view.host
    for device in uplinks(view, scene):
        dropped = [
            vip
            for vip in local_vips(view, scene)
            if on_link(host, vip, device)
            and input_route(host, device, _FAR_CLIENT, vip).obstacle is Obstacle.SENDER_ELSEWHERE
        ]
        if dropped:
            yield Sighting(
                on(view, device),
                f"rp_filter={host.conf('rp_filter', device)}: packets for {enumerated(dropped)} from "
                "clients of other "
                "networks are dropped, for the way back to them is by another interface",
                _set(device, "rp_filter", 2),
                tuple(vip_subject(vip) for vip in sorted(dropped)),
            )


def _proxied(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    host = view.host
    wanted = scene.vips - host.local_addresses
    for device in uplinks(view, scene):
        proxied = [
            vip
            for vip in wanted
            if any(each.rule in (Rule.PROXY_ARP, Rule.PROXY_ARP_PVLAN) for each in asked(host, device, vip))
        ]
        if proxied:
            whose = "all" if host.own("proxy_arp", "all") else device
            yield Sighting(
                on(view, device),
                f"proxy_arp: this node answers for {enumerated(proxied)}, which it does not hold",
                _set(whose, "proxy_arp", 0),
                tuple(vip_subject(vip) for vip in sorted(proxied)),
            )


def _connections_of_ipvs(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    if service_mode(view, scene) == "ipvs" and view.numbers.get(tables.IPVS_CONNTRACK) == 0:
        yield Sighting(
            on(view),
            f"{tables.IPVS_CONNTRACK}=0, and Services are programmed by IPVS",
            f"sysctl -w {tables.IPVS_CONNTRACK}=1",
        )


def _not_forwarding(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    if service_mode(view, scene) != "none" and view.numbers.get(tables.FORWARD) == 0:
        yield Sighting(on(view), f"{tables.FORWARD}=0", f"sysctl -w {tables.FORWARD}=1")


def _full(view: NodeView, held: str, most: str, share: float) -> Iterator[Sighting]:
    entries, limit = view.numbers.get(held), view.numbers.get(most)
    if entries is not None and limit and entries >= share * limit:
        yield Sighting(
            on(view),
            f"{entries} of {limit} entries ({most})",
            f"sysctl -w {most}={limit * 4}",
        )


def _neighbours_full(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    yield from _full(view, tables.NEIGHBOURS, tables.NEIGHBOURS_MOST, 0.8)


def _connections_full(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    yield from _full(view, tables.CONNECTIONS, tables.CONNECTIONS_MOST, 0.9)


CHECKS = (
    node_check(
        "SA201",
        "A node's kernel answers ARP for Service IPs",
        Severity.ERROR,
        why="Every node whose kernel answers gives its own MAC: neighbours' caches flap between the nodes, "
        "and "
        "connections break.",
        look=_kernel_answers,
        causes=("SA101", "SA202"),
        explains=_explains_answers,
    ),
    node_check(
        "SA202",
        "An interface's own arp_ignore defeats strictARP",
        Severity.ERROR,
        why="The kernel takes the larger of conf.all and the interface's value, and 3 to 7 and above 8 do "
        "not mean "
        "stricter: Service IPs are answered again.",
        look=_own_value_defeats,
    ),
    node_check(
        "SA203",
        "Requests of a node may carry a Service IP as their sender",
        Severity.WARNING,
        why="Whoever hears such a request takes this node for the owner of the IP, although it answers no "
        "request.",
        look=_sender,
    ),
    Check(
        "SA204",
        "strictARP is not the same on all nodes",
        Severity.WARNING,
        "kube-proxy sets it once when it starts: what was changed afterwards on one node stays changed.",
        NODES,
        _nodes_differ,
        ("SA201", "SA202", "SA203"),
        same_node,
    ),
    node_check(
        "SA208",
        "New interfaces become strict, present ones are not",
        Severity.WARNING,
        why="Conf.default counts for interfaces made later only: those of pods fall silent for addresses "
        "of other "
        "interfaces, while the uplinks answer for Service IPs.",
        look=_leaking_default,
    ),
    Check(
        "SA209",
        "Pods inherit strictARP",
        Severity.INFO,
        "A pod that answers for an address on its lo, or on another interface, stops to when it is made "
        "anew; and "
        "switching strictARP off does not reach the pods made meanwhile.",
        NODES,
        _inherited,
    ),
    node_check(
        "SA210",
        "A node does not answer ARP at all",
        Severity.ERROR,
        why="At arp_ignore 8 nobody in the subnet finds the node any more once its neighbours' entries "
        "have aged.",
        look=_silent_node,
    ),
    node_check(
        "SA211",
        "Neighbours of another subnet on the same link get no answer",
        Severity.WARNING,
        why="arp_ignore 2 demands that who asks is in the subnet of the address asked for.",
        look=_other_subnets,
    ),
    node_check(
        "SA212",
        "An address of a node is answered on none of its interfaces",
        Severity.ERROR,
        why="arp_filter and rp_filter let only that interface speak by which the node would send back: "
        "with two in "
        "one subnet, and strictARP, none is left for the second one's address.",
        look=_unanswered,
    ),
    node_check(
        "SA213",
        "rp_filter drops clients of Service IPs",
        Severity.ERROR,
        why="The owner answers ARP, and its kernel then drops the packets: the way back to the client is "
        "by another "
        "interface.",
        look=_asymmetric,
    ),
    node_check(
        "SA214",
        "proxy_arp answers for Service IPs of other nodes",
        Severity.ERROR,
        why="A node that does not hold the IP answers in place of its owner; arp_ignore does not apply to "
        "it.",
        look=_proxied,
    ),
    node_check(
        "SA215",
        "IPVS does without connection tracking",
        Severity.ERROR,
        why="Packets to endpoints on other nodes cannot be masqueraded, and their answers go astray.",
        look=_connections_of_ipvs,
    ),
    node_check(
        "SA216",
        "The neighbour table is nearly full",
        Severity.WARNING,
        why="When no entry can be made for who asks, the kernel sends no ARP reply; the limit counts all "
        "network "
        "namespaces together.",
        look=_neighbours_full,
    ),
    node_check(
        "SA217",
        "The table of connections is nearly full",
        Severity.WARNING,
        why="New connections to Service IPs are dropped when it is full.",
        look=_connections_full,
    ),
    node_check(
        "SA219",
        "A node does not forward",
        Severity.ERROR,
        why="Packets for Service IPs reach the node and never the pods.",
        look=_not_forwarding,
    ),
)
