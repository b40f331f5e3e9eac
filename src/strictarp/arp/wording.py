"""The rules that decide, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from strictarp.arp.decision import Decision, Effect, Rule
from strictarp.arp.facts import Host, dotted
from strictarp.arp.frames import mac_text
from strictarp.arp.packets import Packet
from strictarp.sysctl.effective import RULES
from strictarp.sysctl.effective import Rule as Combined

SENTENCES: Mapping[Rule, str] = {
    Rule.LINK_DOWN: "{device} is down, or has no carrier: no frame gets in.",
    Rule.ARP_OFF: "{device} has ARP switched off (NOARP): its kernel reads no ARP at all.",
    Rule.OTHER_HOST: "The frame is addressed to another MAC than that of {device}.",
    Rule.VLAN_UNKNOWN: "The frame is tagged for VLAN {vlan}, and {device} has no such VLAN device.",
    Rule.BOND_INACTIVE: "The frame came in on a slave of {device} that is not active.",
    Rule.BRIDGE_FORWARDS: (
        "The frame is for a MAC that is not this host's: the bridge {device} only passes it on."
    ),
    Rule.TOO_SHORT: "The frame is shorter than an ARP packet.",
    Rule.HEADER_LENGTHS: "The packet's address lengths are not 6 and 4.",
    Rule.FILTERED_INPUT: "A rule of nftables or arptables drops the request before the kernel looks at it.",
    Rule.NO_IPV4: "The MTU of {device} is below 68: it has no IPv4.",
    Rule.HEADER_TYPES: "The packet's hardware or protocol type is not Ethernet and IPv4.",
    Rule.OPERATION: "The packet is neither a request nor a reply.",
    Rule.TARGET_MULTICAST: "{tip} is a multicast address, which nobody answers for.",
    Rule.TARGET_LOOPBACK: "{tip} is a loopback address, and route_localnet is off on {device}.",
    Rule.GRATUITOUS_DROPPED: "Sender and target are the same, and drop_gratuitous_arp is on ({values}).",
    Rule.REPLY: "It is a reply: replies are never answered.",
    Rule.PROBE_NOT_LOCAL: ("{elsewhere}; to a probe (sender 0.0.0.0) only local addresses are answered."),
    Rule.SENDER_MARTIAN: "{sip} cannot be anybody's address (multicast or broadcast).",
    Rule.SENDER_LOOPBACK: "{sip} is a loopback address, and route_localnet is off on {device}.",
    Rule.SENDER_IS_OURS: (
        "{sip} is an address of this very host, and accept_local is off on {device}: whoever asks with it "
        "is not believed."
    ),
    Rule.SENDER_UNREACHABLE: "There is no route back to {sip}, and rp_filter is on ({values}).",
    Rule.SENDER_ELSEWHERE: (
        "The route back to {sip} leaves by another interface than {device}, and rp_filter is strict "
        "({values})."
    ),
    Rule.SENDER_NO_UNICAST: (
        "The route back to {sip} is not an ordinary one (broadcast, blackhole or the like)."
    ),
    Rule.TARGET_ZERO: "0.0.0.0 is nobody's address.",
    Rule.TARGET_BROADCAST: "{tip} is a broadcast address, which nobody answers for.",
    Rule.NO_ROUTE: "{elsewhere}, and there is no route to it that could be proxied.",
    Rule.NOT_FORWARDING: "{elsewhere}, and {device} does not forward: nothing is proxied.",
    Rule.SAME_INTERFACE: "{elsewhere}, and its route leaves by {device} itself.",
    Rule.NOT_PROXIED: ("{elsewhere}, and neither proxy_arp on {device} nor a proxy neighbour covers it."),
    Rule.IGNORE_NOT_ON_DEVICE: (
        "{tip} is local{where}, but {lacking}, and at arp_ignore=1 only those are answered ({values})."
    ),
    Rule.IGNORE_OTHER_SUBNET: (
        "{tip} is local{where}, but not an address of {device} in one subnet with {sip}, and at "
        "arp_ignore=2 only those are answered ({values})."
    ),
    Rule.IGNORE_SCOPE_HOST: (
        "{tip} is local{where}, but at arp_ignore=3 no address of scope host is answered, nor one that no "
        "prefix of its device covers ({values})."
    ),
    Rule.IGNORE_ALL: "{tip} is local{where}, but at arp_ignore=8 nothing is answered ({values}).",
    Rule.ARP_FILTER: (
        "{tip} is local{where}, but a packet from it to {sip} would not leave by {device}, and arp_filter "
        "is on ({values})."
    ),
    Rule.FILTERED_OUTPUT: "The kernel answers, but a rule of nftables or arptables drops the answer.",
    Rule.LOCAL: "{tip} is local{where}, and at {ignore} it is answered on {device}.",
    Rule.PROXY_ARP: "{tip} is routed by another interface, and proxy_arp is on ({values}).",
    Rule.PROXY_ARP_PVLAN: "{tip} is routed back by {device}, and proxy_arp_pvlan is on ({values}).",
    Rule.PROXY_NEIGHBOUR: "There is a proxy neighbour entry for {tip}, which is routed by another interface.",
}

_KEYS: Mapping[Rule, str] = {
    Rule.GRATUITOUS_DROPPED: "drop_gratuitous_arp",
    Rule.SENDER_UNREACHABLE: "rp_filter",
    Rule.SENDER_ELSEWHERE: "rp_filter",
    Rule.IGNORE_NOT_ON_DEVICE: "arp_ignore",
    Rule.IGNORE_OTHER_SUBNET: "arp_ignore",
    Rule.IGNORE_SCOPE_HOST: "arp_ignore",
    Rule.IGNORE_ALL: "arp_ignore",
    Rule.ARP_FILTER: "arp_filter",
    Rule.PROXY_ARP: "proxy_arp",
    Rule.PROXY_ARP_PVLAN: "proxy_arp_pvlan",
}

_EFFECTS: Mapping[Effect, str] = {
    Effect.NONE: "Its neighbour table does not change.",
    Effect.LEARN: "It learns {sip} at {sha}, whatever it knew before.",
    Effect.UPDATE: "If it has an entry for {sip} on {device}, that is updated (under the locktime of 1 s).",
}


def sentence(host: Host, packet: Packet, decision: Decision) -> str:
    """Why it was decided so."""
    return SENTENCES[decision.rule].format_map(_words(host, packet, decision))


def effect(host: Host, packet: Packet, decision: Decision) -> str:
    """What becomes of the neighbour table."""
    return _EFFECTS[decision.effect].format_map(_words(host, packet, decision))


def _words(host: Host, packet: Packet, decision: Decision) -> Mapping[str, str]:
    key = _KEYS.get(decision.rule, "arp_ignore")
    return {
        "device": decision.device,
        "tip": dotted(packet.target_ip),
        "sip": dotted(packet.sender_ip),
        "sha": mac_text(packet.sender_mac),
        "vlan": str(packet.vlan),
        "where": whereabouts(host, packet.target_ip),
        "lacking": _lacking(host, packet.target_ip, decision.device),
        "elsewhere": _elsewhere(host, packet.target_ip, decision.device),
        "ignore": f"arp_ignore={host.conf('arp_ignore', decision.device)}",
        "values": values(host, key, decision.device),
    }


def whereabouts(host: Host, address: int) -> str:
    """` (on kube-ipvs0, which is down; that does not matter)`, or how else the address is local."""
    holders = dict.fromkeys(each.device for each in host.addresses if each.local == address)
    if not holders:
        return " (by a route of type local, no interface has it as an address)"
    named = [
        name if host.by_name[name].up else f"{name}, which is down; that does not matter" for name in holders
    ]
    return f" (on {' and '.join(named)})"


def _lacking(host: Host, address: int, device: str) -> str:
    """A peer may leave an address of the device itself without a prefix that covers it."""
    if any(each.local == address for each in host.on_device.get(device, ())):
        return f"not within a prefix of {device} (it stands there with a peer that is elsewhere)"
    return f"not an address of {device}"


def _elsewhere(host: Host, address: int, device: str) -> str:
    if address not in host.local_addresses:
        return f"{dotted(address)} is not local here"
    return (
        f"{dotted(address)} is an address of this host{whereabouts(host, address)}, but not local for "
        f"requests on {device} (a policy rule, a VRF, or no local route)"
    )


def values(host: Host, key: str, device: str) -> str:
    """`all=1, eth0=0: the greater one counts`."""
    how = {
        Combined.MAX: "the greater one counts",
        Combined.OR: "either is enough",
        Combined.AND: "both are needed",
        Combined.DEVICE: "the interface's own counts",
    }
    return f"all={host.own(key, 'all')}, {device}={host.own(key, device)}: {how[RULES[key]]}"
