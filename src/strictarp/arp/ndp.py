"""Does the kernel answer this IPv6 neighbour solicitation? The decision as a function. Pure.

After Linux net/ipv6/ndisc.c ndisc_recv_ns and ndisc_send_na, and what must be joined for a solicitation to
arrive. Unlike ARP, only addresses of the receiving device are answered: there is nothing for strictARP to
mend. Addresses are numbers of 128 bits.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

ALL_NODES = 0xFF02 << 112 | 1
_SOLICITED_NODE = 0xFF02 << 112 | 1 << 32 | 0xFF << 24
_LOW_BITS = 0xFFFFFF


class Address6(msgspec.Struct, frozen=True, gc=False):
    """An address of a device. anycast: joined there as such (ipv6_chk_acast_addr)."""

    device: str
    address: int
    tentative: bool = False
    optimistic: bool = False
    anycast: bool = False


class Proxy6(msgspec.Struct, frozen=True, gc=False):
    """A proxy neighbour; router: with the flag of that name."""

    address: int
    device: str = ""
    router: bool = False


class Host6(msgspec.Struct, frozen=True):
    """What decides. sysctls: "all" or a device → key of net.ipv6.conf → value. vrf: slave → its VRF."""

    addresses: tuple[Address6, ...]
    proxies: tuple[Proxy6, ...] = ()
    sysctls: Mapping[str, Mapping[str, int]] = {}
    vrf: Mapping[str, str] = {}

    def own(self, key: str, device: str) -> int:
        """A device's own value."""
        return self.sysctls.get(device, {}).get(key, 0)


class Solicitation(msgspec.Struct, frozen=True, gc=False):
    """source 0: somebody who tests whether the address is taken. destination: of the IPv6 header."""

    target: int
    source: int
    destination: int


class Rule6(enum.StrEnum):
    """The rule that decided."""

    NOT_DELIVERED = "not-delivered"
    TARGET_MULTICAST = "target-multicast"
    MALFORMED_PROBE = "malformed-probe"
    NOT_ON_DEVICE = "not-on-device"
    TENTATIVE = "tentative"
    OWN_ADDRESS = "own-address"
    ANYCAST = "anycast"
    PROXY = "proxy-ndp"


class Advertisement(msgspec.Struct, frozen=True, gc=False):
    """The answer: flags router, solicited and override, and where it goes."""

    target: int
    destination: int
    router: bool
    solicited: bool
    override: bool


class Decision6(msgspec.Struct, frozen=True, gc=False):
    """rule: the one that decided; answer: None for silence."""

    rule: Rule6
    answer: Advertisement | None = None


def solicited_node(address: int) -> int:
    """The multicast group of an address (RFC 4291 2.7.1)."""
    return _SOLICITED_NODE | address & _LOW_BITS


def is_multicast(address: int) -> bool:
    """ff00::/8."""
    return address >> 120 == 0xFF


def decide6(host: Host6, device: str, ask: Solicitation) -> Decision6:
    """What the kernel does with a solicitation that arrives on `device`, with hop limit 255."""
    own = _find(host, device, ask.target)
    bad = _refused(host, device, ask, own)
    if bad is not None:
        return Decision6(bad)
    forwarding = bool(host.own("forwarding", device))
    if own is not None:
        rule = Rule6.ANYCAST if own.anycast else Rule6.OWN_ADDRESS
        to_group = is_multicast(ask.destination)
        return _answer(ask, rule, router=forwarding, override=not own.anycast and to_group)
    proxy = _proxy(host, device, ask.target) if forwarding else None
    if proxy is None:
        return Decision6(Rule6.NOT_ON_DEVICE)
    return _answer(ask, Rule6.PROXY, router=proxy.router, override=False)


def _refused(host: Host6, device: str, ask: Solicitation, own: Address6 | None) -> Rule6 | None:
    if is_multicast(ask.target):
        return Rule6.TARGET_MULTICAST
    if not _delivered(host, device, ask.destination):
        return Rule6.NOT_DELIVERED
    if not ask.source and ask.destination != solicited_node(ask.target):
        return Rule6.MALFORMED_PROBE
    unsettled = own is not None and own.tentative and not (own.optimistic and ask.source)
    return Rule6.TENTATIVE if unsettled else None


def _answer(ask: Solicitation, rule: Rule6, *, router: bool, override: bool) -> Decision6:
    """To a probe the answer goes to all nodes and is not solicited."""
    to = ask.source or ALL_NODES
    return Decision6(rule, Advertisement(ask.target, to, router, bool(ask.source), override))


def _devices(host: Host6, device: str) -> tuple[str, ...]:
    """A VRF's slave answers for its VRF's addresses too."""
    return (device, host.vrf[device]) if device in host.vrf else (device,)


def _find(host: Host6, device: str, target: int) -> Address6 | None:
    names = _devices(host, device)
    return next((each for each in host.addresses if each.address == target and each.device in names), None)


def _proxy(host: Host6, device: str, target: int) -> Proxy6 | None:
    if not (host.own("proxy_ndp", "all") or host.own("proxy_ndp", device)):
        return None
    fitting = (each for each in host.proxies if each.address == target and each.device in ("", device))
    return next(fitting, None)


def _delivered(host: Host6, device: str, destination: int) -> bool:
    """The group is joined on the device, or the unicast address is one of this host's."""
    if not is_multicast(destination):
        return any(each.address == destination for each in host.addresses)
    if destination == ALL_NODES:
        return True
    on_device = [each.address for each in host.addresses if each.device in _devices(host, device)]
    proxied = [each.address for each in host.proxies if each.device in ("", device)]
    return any(solicited_node(address) == destination for address in on_device + proxied)
