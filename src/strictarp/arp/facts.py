"""What must be known of a host to tell which ARP frames its kernel answers. Pure values.

IPv4 addresses are numbers here, devices are named. How facts are written in a file stands in `facts_text`,
how they are read from a live node in `collecting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import msgspec

from strictarp.arp.nft import NO_RULES, Ruleset
from strictarp.arp.tc import Filter
from strictarp.sysctl.effective import effective

SCOPE_GLOBAL, SCOPE_SITE, SCOPE_LINK, SCOPE_HOST, SCOPE_NOWHERE = 0, 200, 253, 254, 255
TABLE_DEFAULT, TABLE_MAIN, TABLE_LOCAL = 253, 254, 255
UNICAST, LOCAL, BROADCAST = "unicast", "local", "broadcast"
LOOPBACK = "lo"
VIP_DEVICE = "kube-ipvs0"
"""Where kube-proxy in IPVS mode, and ours, bind Service IPs."""

DEFAULTS: Mapping[str, int] = {"arp_evict_nocarrier": 1, "send_redirects": 1, "shared_media": 1}
"""Compiled-in values that are not 0 (net/ipv4/devinet.c ipv4_devconf)."""


class Device(msgspec.Struct, frozen=True):
    """A network device.

    kind: "bridge", "vlan", "bond", "vrf", "macvlan", "ipvlan", "dummy", ...; empty for a plain NIC. arp:
    false with IFF_NOARP. master: the bridge, bond or VRF it is in. lower: parent of a VLAN, macvlan or
    ipvlan. mode: of a macvlan, ipvlan or bond, by iproute2's word. active: false for a bond's slave that
    receives nothing.
    """

    name: str
    mac: bytes
    kind: str = ""
    up: bool = True
    carrier: bool = True
    arp: bool = True
    mtu: int = 1500
    master: str = ""
    lower: str = ""
    vlan: int = 0
    table: int = 0
    mode: str = ""
    active: bool = True


class Address(msgspec.Struct, frozen=True, gc=False):
    """An address of a device. `peer` is the other end of a point-to-point address, else `local`."""

    device: str
    local: int
    peer: int
    prefix: int
    scope: int = SCOPE_GLOBAL
    secondary: bool = False

    def covers(self, address: int) -> bool:
        """`address` is in the prefix, which is the peer's (inet_ifa_match)."""
        return (address ^ self.peer) >> (32 - self.prefix) == 0

    @property
    def text(self) -> str:
        """As `ip addr add` and `ip addr del` take it; without its peer the latter finds no address."""
        if self.peer == self.local:
            return f"{dotted(self.local)}/{self.prefix}"
        return f"{dotted(self.local)} peer {dotted(self.peer)}/{self.prefix}"

    @property
    def network(self) -> str:
        """The prefix as text, `192.0.2.0/24`."""
        bits = 32 - self.prefix
        return f"{dotted(self.peer >> bits << bits)}/{self.prefix}"


class Hop(msgspec.Struct, frozen=True, gc=False):
    """A way out: a device, and a gateway or 0."""

    device: str
    gateway: int = 0


class Route(msgspec.Struct, frozen=True, gc=False):
    """A route of one table. kind: iproute2's word, "unicast", "local", "broadcast", "blackhole", ...

    custom: made by somebody else than the kernel itself. tos: only packets with it, ARP's is 0.
    """

    table: int
    kind: str
    destination: int
    prefix: int
    hops: tuple[Hop, ...] = ()
    metric: int = 0
    tos: int = 0
    custom: bool = False


class PolicyRule(msgspec.Struct, frozen=True, gc=False):
    """A line of `ip rule`. action: "lookup", "goto", "nop", "prohibit", "unreachable" or "blackhole".

    source, destination: (address, prefix). never: it looks at what ARP has not (a mark, a protocol, ports).
    suppress_prefix: results with this prefix or a shorter one are passed over; -1 for none.
    """

    priority: int
    action: str = "lookup"
    table: int = 0
    source: tuple[int, int] = (0, 0)
    destination: tuple[int, int] = (0, 0)
    iif: str = ""
    oif: str = ""
    inverted: bool = False
    l3mdev: bool = False
    never: bool = False
    suppress_prefix: int = -1
    target: int = 0


DEFAULT_RULES = (
    PolicyRule(0, table=TABLE_LOCAL),
    PolicyRule(32766, table=TABLE_MAIN),
    PolicyRule(32767, table=TABLE_DEFAULT),
)


class ProxyNeighbour(msgspec.Struct, frozen=True, gc=False):
    """An entry of `ip neigh show proxy`; without a device it counts on all."""

    address: int
    device: str = ""


class Host(msgspec.Struct, frozen=True, dict=True):
    """All facts. `devices` are in the order the kernel registered them, addresses of one device in its
    list's.

    sysctls: "all", "default" or a device → key of net.ipv4.conf → value. proxy_delay: device → hundredths of
    a second. unmerged: rules of `ip rule` were changed once, so that `local` is looked up before `main`.
    had_local_routes: somebody added a route of type local once, and may have deleted it since. inherit: the
    sysctl net.core.devconf_inherit_init_net; -1 in a namespace that does not have it, all but the first.
    """

    devices: tuple[Device, ...]
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[PolicyRule, ...] = DEFAULT_RULES
    sysctls: Mapping[str, Mapping[str, int]] = {}
    proxy_delay: Mapping[str, int] = {}
    proxy_neighbours: tuple[ProxyNeighbour, ...] = ()
    unmerged: bool = False
    had_local_routes: bool = False
    inherit: int = -1
    nft: Ruleset = NO_RULES
    tc: tuple[Filter, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Device]:
        """Devices by name."""
        return {device.name: device for device in self.devices}

    @cached_property
    def on_device(self) -> Mapping[str, tuple[Address, ...]]:
        """Addresses by device, in their order."""
        found: dict[str, list[Address]] = {}
        for address in self.addresses:
            found.setdefault(address.device, []).append(address)
        return {name: tuple(each) for name, each in found.items()}

    @cached_property
    def local_addresses(self) -> frozenset[int]:
        """Configured addresses of all devices."""
        return frozenset(address.local for address in self.addresses)

    @cached_property
    def vips(self) -> frozenset[int]:
        """Addresses that kube-ipvs0 alone holds: one that is the node's own must keep answering."""
        held = {each.local for each in self.on_device.get(VIP_DEVICE, ())}
        return frozenset(held - {each.local for each in self.addresses if each.device != VIP_DEVICE})

    @cached_property
    def targets(self) -> Sequence[tuple[int, int, str]]:
        """(address, prefix, holder) of everything local but 127/8 and VIPs: addresses, and prefixes by
        routes.
        """
        found = {
            (each.local, 32): each.device
            for each in self.addresses
            if not is_loopback(each.local) and each.local not in self.vips
        }
        for route in self.routes:
            alone = route.prefix == 32 and route.destination in self.local_addresses
            if route.kind == LOCAL and not is_loopback(route.destination) and not alone:
                found[route.destination, route.prefix] = route.hops[0].device if route.hops else ""
        return [(address, prefix, holder) for (address, prefix), holder in found.items()]

    @cached_property
    def fib(self) -> Mapping[int, Sequence[tuple[int, Mapping[int, Sequence[Route]]]]]:
        """table → (prefix length, network's bits → routes), the longest prefix first.

        As long as no rule was changed, `local` and `main` are one table, kept under the number of `main`; of
        equal prefixes a local route comes first, then the lower metric. Routes for a type of service that is
        not 0 are left out: ARP has none.
        """
        found: dict[int, dict[int, dict[int, list[Route]]]] = {}
        for route in sorted(self.routes, key=lambda each: (-each.table, each.metric)):
            if route.tos:
                continue
            merged = not self.unmerged and route.table == TABLE_LOCAL
            table = found.setdefault(TABLE_MAIN if merged else route.table, {})
            networks = table.setdefault(route.prefix, {})
            networks.setdefault(route.destination >> (32 - route.prefix), []).append(route)
        return {table: sorted(prefixes.items(), reverse=True) for table, prefixes in found.items()}

    @cached_property
    def has_custom_local_routes(self) -> bool:
        """Somebody added a route of type local, ever (net->ipv4.fib_has_custom_local_routes).

        Of a live node only those that are still there can be seen.
        """
        return self.had_local_routes or any(route.custom and route.kind == LOCAL for route in self.routes)

    def own(self, key: str, name: str) -> int:
        """The value of conf.NAME alone, the compiled-in one where it is not known."""
        return self.sysctls.get(name, {}).get(key, DEFAULTS.get(key, 0))

    def conf(self, key: str, device: str) -> int:
        """The value that counts on a device. Raises KeyError for a key that decides nothing about ARP."""
        return effective(key, self.own(key, "all"), self.own(key, device))

    def vrf(self, device: str) -> str:
        """The VRF a device is in, itself if it is one, or empty (l3mdev_master_ifindex)."""
        found = self.by_name.get(device)
        if found is None:
            return ""
        if found.kind == "vrf":
            return device
        master = self.by_name.get(found.master)
        return master.name if master is not None and master.kind == "vrf" else ""

    def local_table(self, device: str) -> int:
        """The table that tells what is local on a device (inet_addr_type_dev_table)."""
        vrf = self.vrf(device)
        return self.by_name[vrf].table if vrf else TABLE_LOCAL


def looped(devices: Iterable[Device]) -> str:
    """A device that sits on or in itself, by whatever detour, empty without one. The kernel makes none."""
    above = {each.name: {each.master, each.lower} - {""} for each in devices}
    for name, direct in above.items():
        reached: set[str] = set()
        front = direct
        while front:
            reached |= front
            front = {far for near in front for far in above.get(near, ())} - reached
        if name in reached:
            return name
    return ""


def is_multicast(address: int) -> bool:
    """224.0.0.0/4."""
    return address >> 28 == 0xE


def is_loopback(address: int) -> bool:
    """127.0.0.0/8."""
    return address >> 24 == 127


LIMITED_BROADCAST = 0xFFFFFFFF


def dotted(address: int) -> str:
    """`192.0.2.1`."""
    return ".".join(str(address >> shift & 0xFF) for shift in (24, 16, 8, 0))
