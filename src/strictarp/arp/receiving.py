"""Which devices of a host see a frame that arrives on a NIC, and what each of them does. Pure.

The order of hooks is that of __netif_receive_skb_core (net/core/dev.c): ingress filter, VLAN, then the
handler of the device's master (bridge_input, bond_handle_frame) or of what sits on it (macvlan_handle_frame,
ipvlan_handle_frame), then ARP. A VRF changes nothing here: its slaves see their frames themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from strictarp.arp.deciding import decide, packet_kind
from strictarp.arp.decision import Decision, Rule
from strictarp.arp.facts import Device, Host
from strictarp.arp.frames import BROADCAST_MAC
from strictarp.arp.nft import Seen, run
from strictarp.arp.packets import Packet, is_group
from strictarp.arp.tc import passes

_ALL_HOSTS_MAC = bytes.fromhex("01005e000001")
_HEARD_BY_ALL = (BROADCAST_MAC, _ALL_HOSTS_MAC)
"""Groups that every macvlan and ipvlan with IPv4 listens to. The kernel's filter is a hash of 256 places: now
and then one hears an unrelated group too, which nobody can foresee.
"""


def receive(host: Host, nic: str, packet: Packet) -> list[Decision]:
    """The decision of every device that a frame on `nic` reaches; of those that drop it below ARP, why.

    A frame for a VLAN's device is given on that device: it arrives tagged on the one below.
    """
    device = host.by_name[nic]
    if device.kind == "vlan" and device.lower in host.by_name:
        tagged = msgspec.structs.replace(packet, vlan=device.vlan)
        return receive(host, device.lower, tagged)
    if not device.up or not device.carrier:
        return [Decision(nic, Rule.LINK_DOWN)]
    return list(_at(host, device, packet, packet_kind(device.mac, packet)))


def _at(host: Host, device: Device, packet: Packet, kind: str) -> Iterator[Decision]:
    filtered = run(host.nft, "netdev", "ingress", packet, Seen(iif=device.name, kind=kind))
    if filtered is None or not passes(host.tc, device.name, packet, ingress=True):
        yield Decision(device.name, Rule.FILTERED_INPUT)
        return
    packet = filtered
    if packet.vlan is not None:
        vlan = _on(host, device, "vlan", packet.vlan)
        if vlan:
            yield from _untagged(host, vlan[0], packet, kind)
            return
    master = host.by_name.get(device.master)
    if master is not None and master.kind == "bridge":
        yield from _bridge(host, device, master, packet=packet, kind=kind)
    elif master is not None and master.kind == "bond":
        yield from _bond(host, device, master, packet=packet, kind=kind)
    else:
        yield from _shared(host, device, packet, kind)


def _on(host: Host, device: Device, kind: str, vlan: int = 0) -> list[Device]:
    return [
        each for each in host.devices if each.kind == kind and each.lower == device.name and each.vlan == vlan
    ]


def _untagged(host: Host, vlan: Device, packet: Packet, kind: str) -> Iterator[Decision]:
    """vlan_do_receive: a VLAN device may have a MAC of its own."""
    if not vlan.up:
        yield Decision(vlan.name, Rule.LINK_DOWN)
        return
    if kind == "otherhost" and packet.destination == vlan.mac:
        kind = "host"
    yield from _at(host, vlan, msgspec.structs.replace(packet, vlan=None), kind)


def _bridge(host: Host, port: Device, bridge: Device, *, packet: Packet, kind: str) -> Iterator[Decision]:
    """br_handle_frame: groups go up and on, unicast only goes up for the bridge's MAC or that of a port."""
    if not bridge.up:
        yield Decision(bridge.name, Rule.LINK_DOWN)
        return
    ours = {bridge.mac} | {each.mac for each in host.devices if each.master == bridge.name}
    if not is_group(packet.destination) and packet.destination not in ours:
        yield Decision(bridge.name, Rule.BRIDGE_FORWARDS)
        return
    if packet.destination == bridge.mac:
        kind = "host"
    seen = Seen(iif=port.name, kind=kind, bridge=bridge.name)
    for hook in ("prerouting", "input"):
        passed = run(host.nft, "bridge", hook, packet, seen)
        if passed is None:
            yield Decision(bridge.name, Rule.FILTERED_INPUT)
            return
        packet = passed
    yield from _at(host, bridge, packet, kind)


def _bond(host: Host, slave: Device, bond: Device, *, packet: Packet, kind: str) -> Iterator[Decision]:
    """bond_should_deliver_exact_match: an inactive slave's frames reach nobody."""
    if not bond.up:
        yield Decision(bond.name, Rule.LINK_DOWN)
    elif not slave.active and not (bond.mode == "balance-alb" and not is_group(packet.destination)):
        yield Decision(bond.name, Rule.BOND_INACTIVE)
    else:
        yield from _at(host, bond, packet, kind)


def _shared(host: Host, device: Device, packet: Packet, kind: str) -> Iterator[Decision]:
    """The device itself, and macvlans or ipvlans on it, which all hear a broadcast."""
    children = _on(host, device, "macvlan") + _on(host, device, "ipvlan")
    if not is_group(packet.destination):
        chosen = _unicast_child(host, children, packet)
        if chosen is not None:
            # macvlan_handle_frame makes it a frame for this host, ipvlan_rcv_frame leaves it as it was.
            yield from _at(host, chosen, packet, "host" if chosen.kind == "macvlan" else kind)
        else:
            yield decide(host, device.name, packet, kind=kind)
        return
    if any(child.kind == "ipvlan" and child.mode.startswith("l3") for child in children):
        chosen = _ipvlan_child(host, children, packet)
        children = []
        if chosen is not None:
            yield from _at(host, chosen, packet, kind)
            return
    yield decide(host, device.name, packet, kind=kind)
    if packet.destination in _HEARD_BY_ALL:
        for child in children:
            if child.up:
                yield from _at(host, child, packet, kind)


def _unicast_child(host: Host, children: list[Device], packet: Packet) -> Device | None:
    """macvlan looks at the Ethernet destination, ipvlan at the target address of the packet."""
    for child in children:
        if child.kind == "macvlan" and (child.mode == "passthru" or packet.destination == child.mac):
            return child
    return _ipvlan_child(host, children, packet)


def _ipvlan_child(host: Host, children: list[Device], packet: Packet) -> Device | None:
    """ipvlan_addr_lookup; of a point-to-point address it knows the peer's side (ipvlan_addr4_event)."""
    for child in children:
        held = {address.peer for address in host.on_device.get(child.name, ())}
        if child.kind == "ipvlan" and child.up and packet.target_ip in held:
            return child
    return None
