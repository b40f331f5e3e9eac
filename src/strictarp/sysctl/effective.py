"""What sysctls of `net.ipv4.conf` mean on an interface. Pure.

The kernel combines `conf.all` and `conf.<interface>` by a rule of its own for each key
(Linux include/linux/inetdevice.h, IN_DEV_MAXCONF, IN_DEV_ORCONF, IN_DEV_ANDCONF, IN_DEV_CONF_GET), and then
gives the number a meaning in which numbers do not order (net/ipv4/arp.c, arp_ignore and arp_solicit).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec


class Rule(Enum):
    """How `all` and the interface's own value make the effective one."""

    MAX = "max"
    OR = "or"
    AND = "and"
    DEVICE = "device"


RULES: Mapping[str, Rule] = {
    "accept_local": Rule.OR,
    "arp_accept": Rule.MAX,
    "arp_announce": Rule.MAX,
    "arp_evict_nocarrier": Rule.AND,
    "arp_filter": Rule.OR,
    "arp_ignore": Rule.MAX,
    "arp_notify": Rule.MAX,
    "drop_gratuitous_arp": Rule.OR,
    "forwarding": Rule.DEVICE,
    "ignore_routes_with_linkdown": Rule.OR,
    "medium_id": Rule.DEVICE,
    "proxy_arp": Rule.OR,
    "proxy_arp_pvlan": Rule.OR,
    "route_localnet": Rule.OR,
    "rp_filter": Rule.MAX,
    "send_redirects": Rule.OR,
    "shared_media": Rule.OR,
}
"""The keys that decide about ARP. Older kernels take proxy_arp_pvlan from the device alone."""


def effective(key: str, all_value: int, device_value: int) -> int:
    """The value that counts on the device. Raises KeyError for a key that is not in RULES."""
    rule = RULES[key]
    if rule is Rule.MAX:
        return max(all_value, device_value)
    if rule is Rule.DEVICE:
        return device_value
    if rule is Rule.OR:
        return int(bool(all_value) or bool(device_value))
    return int(bool(all_value) and bool(device_value))


class Ignore(Enum):
    """What a level of arp_ignore does with a request for a local address."""

    ANSWER = 0
    OWN_DEVICE_ONLY = 1
    OWN_DEVICE_AND_SUBNET = 2
    NOT_SCOPE_HOST = 3
    SILENT = 8


class Announce(Enum):
    """Which sender address a level of arp_announce lets the kernel's own requests carry."""

    ANY_LOCAL = 0
    SAME_SUBNET_IF_POSSIBLE = 1
    BEST_OF_DEVICE = 2


def ignore_level(level: int) -> Ignore:
    """Meaning of an effective arp_ignore; reserved, unknown and negative numbers mean 0."""
    try:
        return Ignore(level)
    except ValueError:
        return Ignore.ANSWER


def announce_level(level: int) -> Announce:
    """Meaning of an effective arp_announce; numbers above 2 and negative ones mean 0."""
    try:
        return Announce(level)
    except ValueError:
        return Announce.ANY_LOCAL


_MUTE = frozenset({Ignore.OWN_DEVICE_ONLY, Ignore.OWN_DEVICE_AND_SUBNET, Ignore.SILENT})


def hides_vips(arp_ignore: int) -> bool:
    """An effective arp_ignore at which addresses of another device (kube-ipvs0) are not answered.

    1, 2 and 8. At 3 they are: kube-proxy binds VIPs with scope global, and 3 hides scope host only.
    """
    return ignore_level(arp_ignore) in _MUTE


class Verdict(msgspec.Struct, frozen=True):
    """Whether strictARP is in force on an interface, and why (not). Truth value: in force."""

    in_force: bool
    reason: str

    def __bool__(self) -> bool:
        return self.in_force


def strictarp_in_force(all_ignore: int, dev_ignore: int, *, all_announce: int, dev_announce: int) -> Verdict:
    """Neither does the kernel answer for VIPs of kube-ipvs0 on this interface nor send them as ARP sender."""
    ignore = effective("arp_ignore", all_ignore, dev_ignore)
    announce = effective("arp_announce", all_announce, dev_announce)
    if not hides_vips(ignore):
        return Verdict(False, _whose("arp_ignore", all_ignore, dev_ignore, "VIPs are answered"))
    if announce_level(announce) is not Announce.BEST_OF_DEVICE:
        return Verdict(False, _whose("arp_announce", all_announce, dev_announce, "VIPs are used as sender"))
    return Verdict(True, f"arp_ignore={ignore} and arp_announce={announce} are effective")


def _whose(key: str, all_value: int, device_value: int, effect: str) -> str:
    if device_value > all_value:
        return f"the interface's own {key}={device_value} overrides all={all_value}: {effect}"
    return f"{key}={all_value} in conf.all is effective: {effect}"


def strictarp_writes(all_ignore: int, all_announce: int) -> dict[str, int]:
    """What must be written to `conf.all` for strictARP: kube-proxy's 1 and 2, where not strict already.

    kube-proxy compares exactly and would lower a stricter arp_ignore of 2 or 8 to 1; that is left alone here.
    """
    writes = {}
    if not hides_vips(all_ignore):
        writes["arp_ignore"] = 1
    if announce_level(all_announce) is not Announce.BEST_OF_DEVICE:
        writes["arp_announce"] = 2
    return writes
