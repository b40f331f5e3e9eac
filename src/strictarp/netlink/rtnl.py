"""Links, addresses, routes and neighbours as values, and what follows from them. Pure.

Numbers after Linux include/uapi/linux/{rtnetlink,if_link,if_addr,neighbour}.h and net/if.h. Addresses are
packed bytes, 4 or 16. The codec is in `rtnl_encode` and `rtnl_parse`.
"""

from __future__ import annotations

import msgspec

GROUP_LINK, GROUP_NEIGHBOUR, GROUP_IPV4_ADDRESS, GROUP_IPV4_ROUTE = 1, 3, 5, 7
GROUP_IPV6_ADDRESS, GROUP_IPV6_ROUTE = 9, 11

IFF_UP, IFF_LOOPBACK, IFF_RUNNING, IFF_NOARP, IFF_LOWER_UP = 0x1, 0x8, 0x40, 0x80, 0x10000
SCOPE_GLOBAL, SCOPE_SITE, SCOPE_LINK, SCOPE_HOST = 0, 200, 253, 254
TABLE_MAIN, TABLE_LOCAL = 254, 255
ROUTE_UNICAST, ROUTE_LOCAL = 1, 2
PROTOCOL_KERNEL, PROTOCOL_RA = 2, 9
ADDRESS_TENTATIVE, ADDRESS_DAD_FAILED, ADDRESS_TEMPORARY = 0x40, 0x08, 0x01
NUD_INCOMPLETE, NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_FAILED = 1, 2, 4, 8, 0x10, 0x20
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80
_ON_EVERY_LINK = ((b"\xfe\x80" + bytes(14), 10), (b"\xff" + bytes(15), 8))
"""IPv6's link-local addresses and groups."""


class Link(msgspec.Struct, frozen=True, gc=False):
    """A network device.

    flags: IFF_*. mac: empty where the device has none. master: index of the bridge, bond or VRF, 0 without.
    kind: "dummy", "veth", ...; empty for hardware. carrier: the lower layer is up.
    """

    index: int
    name: str
    flags: int
    mac: bytes
    master: int = 0
    kind: str = ""
    mtu: int = 0
    carrier: bool = False

    @property
    def up(self) -> bool:
        """Set up by the administrator and with carrier: frames can pass."""
        return bool(self.flags & IFF_UP) and self.carrier


class Address(msgspec.Struct, frozen=True, gc=False):
    """An address of a device. `peer` is the other end of a point-to-point address, else empty."""

    index: int
    address: bytes
    prefix: int
    scope: int = SCOPE_GLOBAL
    flags: int = 0
    peer: bytes = b""


class Hop(msgspec.Struct, frozen=True, gc=False):
    """A way out: device and gateway, empty when the destination is on the link. Index 0: no device."""

    index: int
    gateway: bytes = b""


class Route(msgspec.Struct, frozen=True, gc=False):
    """A route. An empty destination with prefix 0 is the default route; several hops are multipath.

    width: 4 or 16, the family. source: preferred source address, empty without. protocol: who made it, 2 for
    the kernel itself. tos: only packets with this type of service, 0 for all.
    """

    width: int
    destination: bytes
    prefix: int
    hops: tuple[Hop, ...]
    table: int = TABLE_MAIN
    kind: int = ROUTE_UNICAST
    metric: int = 0
    source: bytes = b""
    protocol: int = 0
    tos: int = 0


class Neighbour(msgspec.Struct, frozen=True, gc=False):
    """An entry of the neighbour table; `mac` is empty while unresolved, `state` is one of NUD_*."""

    index: int
    address: bytes
    mac: bytes
    state: int


class LinkEvent(msgspec.Struct, frozen=True, gc=False):
    """A link appeared, changed or (gone) disappeared."""

    link: Link
    gone: bool = False


class AddressEvent(msgspec.Struct, frozen=True, gc=False):
    """An address appeared, changed or (gone) disappeared."""

    address: Address
    gone: bool = False


class RouteEvent(msgspec.Struct, frozen=True, gc=False):
    """A route appeared, changed or (gone) disappeared."""

    route: Route
    gone: bool = False


class NeighbourEvent(msgspec.Struct, frozen=True, gc=False):
    """A neighbour entry appeared, changed or (gone) disappeared."""

    neighbour: Neighbour
    gone: bool = False


Event = LinkEvent | AddressEvent | RouteEvent | NeighbourEvent


def covers(network: bytes, prefix: int, address: bytes) -> bool:
    """`address` is in `network`/`prefix` (same family)."""
    if len(network) != len(address):
        return False
    shift = 8 * len(network) - prefix
    return int.from_bytes(network, "big") >> shift == int.from_bytes(address, "big") >> shift


def is_prefix_on_link(route: Route) -> bool:
    """An IPv6 prefix that a router's advertisement calls on-link: the addresses of a host that has them by
    DHCPv6 do not tell it, they have a prefix of 128 (RFC 8415 18.2.10.1). Made by the kernel, or by a daemon
    in its place, in the main table or that of a VRF.
    """
    if route.width != 16 or not 0 < route.prefix < 128 or route.table == TABLE_LOCAL:
        return False
    if route.kind != ROUTE_UNICAST or route.protocol not in (PROTOCOL_KERNEL, PROTOCOL_RA):
        return False
    shared = any(covers(each, prefix, route.destination) for each, prefix in _ON_EVERY_LINK)
    return not shared and len(route.hops) == 1 and bool(route.hops[0].index) and not route.hops[0].gateway
