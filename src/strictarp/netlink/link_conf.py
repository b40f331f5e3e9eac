"""`net.ipv4.conf.DEVICE` as the kernel tells it with a link: all keys at once. Pure.

In /proc each key has a file, and a node with many pods thousands of them.

After Linux include/uapi/linux/ip.h (IPV4_DEVCONF_*) and net/ipv4/devinet.c inet_fill_link_af.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from socket import AF_INET

from strictarp.netlink.messages import Message, attributes
from strictarp.netlink.rtnl_encode import IFINFOMSG

_IFLA_AF_SPEC = 26
_IFLA_INET_CONF = 1
PLACES: Mapping[str, int] = {
    "forwarding": 1,
    "proxy_arp": 3,
    "send_redirects": 6,
    "shared_media": 7,
    "rp_filter": 8,
    "arp_filter": 13,
    "medium_id": 14,
    "arp_announce": 18,
    "arp_ignore": 19,
    "promote_secondaries": 20,
    "arp_accept": 21,
    "arp_notify": 22,
    "accept_local": 23,
    "proxy_arp_pvlan": 25,
    "route_localnet": 26,
    "ignore_routes_with_linkdown": 29,
    "drop_gratuitous_arp": 31,
    "arp_evict_nocarrier": 33,
}
"""The number of each key; kernels append new ones."""


def parse_conf(message: Message) -> Mapping[str, int]:
    """The values of a link by key; a key that the kernel lacks is left out, all for a link without IPv4.

    Raises MalformedMessage.
    """
    found = attributes(message.payload, IFINFOMSG.size)
    families = attributes(found.get(_IFLA_AF_SPEC, memoryview(b"")))
    values = attributes(families.get(AF_INET, memoryview(b""))).get(_IFLA_INET_CONF, memoryview(b""))
    numbers = struct.unpack_from(f"={len(values) // 4}i", values)
    return {key: numbers[place - 1] for key, place in PLACES.items() if place <= len(numbers)}
