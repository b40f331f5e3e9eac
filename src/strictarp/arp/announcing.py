"""Which sender address the kernel's own ARP requests carry. Pure (net/ipv4/arp.c arp_solicit)."""

from __future__ import annotations

from strictarp.arp.addresses import both_on_link, select
from strictarp.arp.facts import LOCAL, Host
from strictarp.arp.fib import address_type
from strictarp.arp.frames import BROADCAST_MAC
from strictarp.arp.nft import Seen, run
from strictarp.arp.packets import Packet
from strictarp.sysctl.effective import Announce, announce_level


def sender_for(host: Host, device: str, target: int, source: int) -> int:
    """The sender address of a request for `target` out of `device`; 0 if the host has none to give.

    source: source address of the packet that waits (of several the first for the first request, the last for
    the following ones), 0 when none waits, as when a stale entry is probed.
    """
    if source and address_type(host, source, device) == LOCAL:
        level = announce_level(host.conf("arp_announce", device))
        if level is Announce.ANY_LOCAL:
            return source
        if level is Announce.SAME_SUBNET_IF_POSSIBLE and both_on_link(host, device, target, source):
            return source
    return select(host, device, target)


def solicit(host: Host, device: str, target: int, source: int, *, to: bytes = BROADCAST_MAC) -> Packet | None:
    """The request as it leaves, after nftables' hook output; None when that drops it."""
    mac = host.by_name[device].mac
    request = Packet(
        sender_ip=sender_for(host, device, target, source),
        target_ip=target,
        sender_mac=mac,
        destination=to,
        source=mac,
    )
    return run(host.nft, "arp", "output", request, Seen(oif=device))


def announcements(host: Host, device: str) -> list[Packet]:
    """What leaves by itself when the device comes up or changes its MAC (inetdev_send_gratuitous_arp).

    Only with arp_notify, and never when an address is added.
    """
    if not host.conf("arp_notify", device):
        return []
    mac = host.by_name[device].mac
    return [
        Packet(each.local, each.local, mac, target_mac=mac, source=mac)
        for each in host.on_device.get(device, ())
    ]
