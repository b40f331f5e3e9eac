"""Does the kernel answer this ARP packet? The decision as a function. Pure.

After Linux 6.x net/ipv4/arp.c: arp_rcv, arp_process, arp_ignore, arp_filter, arp_fwd_proxy, arp_fwd_pvlan.
One device; which device of a host sees a frame that arrives on a NIC is told by `receiving`.
"""

from __future__ import annotations

from collections.abc import Iterator

from strictarp.arp.addresses import confirm
from strictarp.arp.decision import Answer, Decision, Effect, Rule
from strictarp.arp.facts import LOCAL, SCOPE_HOST, SCOPE_LINK, Host, is_loopback, is_multicast
from strictarp.arp.fib import address_type
from strictarp.arp.frames import BROADCAST_MAC, REPLY, REQUEST
from strictarp.arp.nft import Seen, run
from strictarp.arp.packets import Packet, is_group
from strictarp.arp.routing import input_route, leaves_by_device
from strictarp.arp.tc import passes
from strictarp.sysctl.effective import Ignore, ignore_level

_SMALLEST_MTU = 68
_ARP_LENGTH = 28
_DEFAULT_PROXY_DELAY = 80

_IGNORED = {
    Ignore.OWN_DEVICE_ONLY: Rule.IGNORE_NOT_ON_DEVICE,
    Ignore.OWN_DEVICE_AND_SUBNET: Rule.IGNORE_OTHER_SUBNET,
    Ignore.NOT_SCOPE_HOST: Rule.IGNORE_SCOPE_HOST,
    Ignore.SILENT: Rule.IGNORE_ALL,
}


def decide(host: Host, device: str, packet: Packet, *, kind: str = "") -> Decision:
    """What the kernel does with `packet`, handed to `device` by the layers below it.

    kind: the kernel's packet type, "host", "broadcast", "multicast" or "otherhost", where a layer below told;
    else it follows from the device's MAC.
    """
    kind = kind or packet_kind(host.by_name[device].mac, packet)
    rule = _refused_frame(host, device, packet, kind) or _refused_packet(host, device, packet)
    if rule is not None:
        return Decision(device, rule)
    if packet.sender_ip == 0:
        return _probe(host, device, packet)
    if packet.operation == REPLY:
        return Decision(device, Rule.REPLY, effect=Effect.UPDATE)
    return _request(host, device, packet)


def _refused_frame(host: Host, name: str, packet: Packet, kind: str) -> Rule | None:
    """arp_rcv."""
    device = host.by_name[name]
    filtered = run(host.nft, "arp", "input", packet, Seen(iif=name, kind=kind)) is None
    return _first(
        (not device.up, Rule.LINK_DOWN),
        (not device.arp, Rule.ARP_OFF),
        (kind == "otherhost", Rule.OTHER_HOST),
        (bool(packet.vlan), Rule.VLAN_UNKNOWN),
        (packet.length < _ARP_LENGTH, Rule.TOO_SHORT),
        (packet.hardware_length != 6 or packet.protocol_length != 4, Rule.HEADER_LENGTHS),
        (filtered, Rule.FILTERED_INPUT),
    )


def _first(*checks: tuple[bool, Rule]) -> Rule | None:
    """The first rule whose condition holds: the kernel looks in this order."""
    return next((rule for holds, rule in checks if holds), None)


def packet_kind(mac: bytes, packet: Packet) -> str:
    """The packet type that a device with this MAC gives a frame (eth_type_trans)."""
    if packet.destination == BROADCAST_MAC:
        return "broadcast"
    if is_group(packet.destination):
        return "multicast"
    return "host" if packet.destination == mac else "otherhost"


def _refused_packet(host: Host, name: str, packet: Packet) -> Rule | None:
    """The first part of arp_process."""
    announcement = packet.sender_ip == packet.target_ip
    own_kind = packet.hardware_type in (1, 6) and packet.protocol_type == 0x0800
    loopback = is_loopback(packet.target_ip) and not host.conf("route_localnet", name)
    return _first(
        (host.by_name[name].mtu < _SMALLEST_MTU, Rule.NO_IPV4),
        (not own_kind, Rule.HEADER_TYPES),
        (packet.operation not in (REQUEST, REPLY), Rule.OPERATION),
        (is_multicast(packet.target_ip), Rule.TARGET_MULTICAST),
        (loopback, Rule.TARGET_LOOPBACK),
        (announcement and bool(host.conf("drop_gratuitous_arp", name)), Rule.GRATUITOUS_DROPPED),
    )


def _probe(host: Host, device: str, packet: Packet) -> Decision:
    """An address probe: neither routes, rules, rp_filter, arp_filter nor proxies count."""
    if packet.operation == REPLY:
        return Decision(device, Rule.REPLY)
    if address_type(host, packet.target_ip, device) != LOCAL:
        return Decision(device, Rule.PROBE_NOT_LOCAL)
    ignored = ignored_by(host, device, 0, packet.target_ip)
    if ignored is not None:
        return Decision(device, ignored)
    return _answer(host, device, packet, Rule.LOCAL, Effect.NONE)


def _request(host: Host, device: str, packet: Packet) -> Decision:
    route = input_route(host, device, packet.sender_ip, packet.target_ip)
    if route.obstacle is not None:
        return Decision(device, Rule(route.obstacle.value), effect=Effect.UPDATE)
    if route.kind == LOCAL:
        ignored = ignored_by(host, device, packet.sender_ip, packet.target_ip)
        if ignored is not None:
            return Decision(device, ignored)
        if host.conf("arp_filter", device) and not leaves_by_device(
            host, device, packet.sender_ip, packet.target_ip
        ):
            return Decision(device, Rule.ARP_FILTER)
        return _answer(host, device, packet, Rule.LOCAL, Effect.LEARN)
    proxy = _proxied_by(host, device, route.device, packet)
    if proxy is None:
        return Decision(device, Rule.NOT_PROXIED, effect=Effect.UPDATE)
    return _answer(host, device, packet, proxy, Effect.LEARN, delay=_delay(host, device, packet))


def ignored_by(host: Host, device: str, sender: int, target: int) -> Rule | None:
    """The rule of arp_ignore that silences an answer for the local `target`, None: it does not."""
    level = ignore_level(host.conf("arp_ignore", device))
    if level is Ignore.ANSWER:
        return None
    if level is not Ignore.SILENT:
        own_subnet = level is Ignore.OWN_DEVICE_AND_SUBNET
        anywhere = level is Ignore.NOT_SCOPE_HOST
        where, scope = ("", SCOPE_LINK) if anywhere else (device, SCOPE_HOST)
        if confirm(host, where, sender if own_subnet else 0, target, scope=scope):
            return None
    return _IGNORED[level]


def _proxied_by(host: Host, device: str, out: str, packet: Packet) -> Rule | None:
    """The rule that answers for a target that is routed by `out`."""
    if out == device:
        announces_itself = packet.sender_ip == packet.target_ip
        pvlan = host.conf("proxy_arp_pvlan", device) and not announces_itself
        return Rule.PROXY_ARP_PVLAN if pvlan else None
    if host.conf("proxy_arp", device) and _other_medium(host, device, out):
        return Rule.PROXY_ARP
    for entry in host.proxy_neighbours:
        if entry.address == packet.target_ip and entry.device in ("", device):
            return Rule.PROXY_NEIGHBOUR
    return None


def _other_medium(host: Host, device: str, out: str) -> bool:
    """arp_fwd_proxy: medium_id 0 says nothing, -1 switches proxy_arp off."""
    mine = host.conf("medium_id", device)
    if mine in (0, -1):
        return mine == 0
    return host.conf("medium_id", out) not in (mine, -1)


def _delay(host: Host, device: str, packet: Packet) -> int:
    if not is_group(packet.destination):
        return 0
    return host.proxy_delay.get(device, _DEFAULT_PROXY_DELAY)


def _answer(
    host: Host, device: str, packet: Packet, rule: Rule, effect: Effect, *, delay: int = 0
) -> Decision:
    mac = host.by_name[device].mac
    reply = Packet(
        sender_ip=packet.target_ip,
        target_ip=packet.sender_ip,
        sender_mac=mac,
        target_mac=packet.sender_mac,
        operation=REPLY,
        destination=packet.sender_mac,
        source=mac,
    )
    sent = _sent(host, device, reply)
    if sent is None:
        return Decision(device, Rule.FILTERED_OUTPUT, effect=effect)
    answer = Answer(device, sent.sender_mac, sent.sender_ip, sent.destination, sent.target_ip, delay)
    return Decision(device, rule, answer, effect)


def _sent(host: Host, device: str, reply: Packet) -> Packet | None:
    """The reply as it leaves, None when a filter drops it."""
    sent = run(host.nft, "arp", "output", reply, Seen(oif=device))
    for name in _way_out(host, device):
        sent = run(host.nft, "netdev", "egress", sent, Seen(oif=name)) if sent is not None else None
        if sent is None or not passes(host.tc, name, sent, ingress=False):
            return None
    return sent


def _way_out(host: Host, device: str) -> Iterator[str]:
    """The device and those below it that a reply passes; which port of a bridge it takes is not known."""
    while device in host.by_name:
        yield device
        device = host.by_name[device].lower
