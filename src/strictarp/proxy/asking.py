"""How a silent node's kernel is asked whether it lives, and what shows that it does: no I/O. Pure.

By ARP, or by neighbour solicitation where this node shares no IPv4 subnet with the other. A kernel answers a
solicitation only for an address of the link that it came in on (ndisc_recv_ns), as with strictARP a request.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from strictarp.arp import bpf, frames, ndp_frames
from strictarp.netlink.rtnl import (
    ADDRESS_DAD_FAILED,
    ADDRESS_TENTATIVE,
    SCOPE_GLOBAL,
    Address,
    Link,
    covers,
)
from strictarp.proxy.liveness import Member
from strictarp.proxy.seam import HostLinks
from strictarp.proxy.status import answering_links

ETHERTYPES = (frames.ETHERTYPE_ARP, ndp_frames.ETHERTYPE_IPV6)
_UNSETTLED = ADDRESS_TENTATIVE | ADDRESS_DAD_FAILED
"""Nothing is asked from an address that may be another's (RFC 4862 5.4)."""

Subnet = tuple[bytes, int]
"""An own address, or the network, packed, and its prefix length."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """This node on a link. on_link: IPv6 prefixes that its own addresses there do not tell of."""

    link: int
    mac: bytes
    addresses: tuple[Subnet, ...]
    on_link: tuple[Subnet, ...] = ()

    def source_for(self, target: bytes) -> bytes | None:
        """Our own address in the subnet of `target`, None when it is not on this link."""
        for own, prefix in self.addresses:
            if covers(own, prefix, target):
                return own
        if any(covers(network, prefix, target) for network, prefix in self.on_link):
            return next((own for own, _ in self.addresses if len(own) == len(target)), None)
        return None


class Question(msgspec.Struct, frozen=True, gc=False):
    """A frame to send, and its EtherType."""

    ethertype: int
    frame: bytes


def places(host: HostLinks, members: Iterable[Member]) -> dict[int, Place]:
    """Links on whose subnets other nodes have their InternalIP, by index.

    Elsewhere nobody could tell whether a silent node lives: its kernel does not answer there.
    """
    targets = [address for member in members for address in member.addresses]
    found = {}
    for link in answering_links(host.links):
        own = tuple(
            (entry.address, entry.prefix)
            for entry in host.addresses
            if entry.index == link.index and entry.scope == SCOPE_GLOBAL and not entry.flags & _UNSETTLED
        )
        on_link = tuple(
            (route.destination, route.prefix) for route in host.on_link if route.hops[0].index == link.index
        )
        place = Place(link.index, link.mac, own, on_link)
        if link.carrier and len(link.mac) == 6 and any(place.source_for(target) for target in targets):
            found[link.index] = place
    return found


def needs_prefixes(links: Iterable[Link], addresses: Iterable[Address]) -> bool:
    """Whether some address tells nothing of its subnet: that of a host that has it by DHCPv6."""
    here = {link.index for link in answering_links(links)}
    return any(
        entry.prefix == 128 and entry.scope == SCOPE_GLOBAL and entry.index in here for entry in addresses
    )


def question(place: Place, member: Member) -> Question | None:
    """What asks a node's kernel on a link; None where this node has no address to ask it from."""
    for target in member.addresses:
        own = place.source_for(target)
        if own is None:
            continue
        if len(target) == 4:
            return Question(frames.ETHERTYPE_ARP, frames.request(place.mac, own, target))
        return Question(ndp_frames.ETHERTYPE_IPV6, ndp_frames.solicit(place.mac, own, target))
    return None


def filters(awaited: Iterable[bytes]) -> dict[int, bpf.Program]:
    """What sockets have to pass to hear the kernels that have these addresses, by EtherType."""
    four, six = ([each for each in awaited if len(each) == width] for width in (4, 16))
    found = {}
    if four:
        found[frames.ETHERTYPE_ARP] = bpf.arp_about(bpf.aggregate(four))
    if six:
        found[ndp_frames.ETHERTYPE_IPV6] = bpf.ndp_about(bpf.aggregate6(six))
    return found


def alive(frame: bytes) -> tuple[bytes, ...]:
    """Addresses whose host shows by this frame that its kernel lives; none for a malformed frame.

    Answers do, and its own questions. An advertisement may have another sender than what it is about (the
    target is on the VRF of the link, ndisc_send_na).
    """
    try:
        if int.from_bytes(frame[12:14], "big") == frames.ETHERTYPE_ARP:
            return (frames.decode(frame).sender_ip,)
        ndp = ndp_frames.decode(frame)
    except (frames.MalformedFrame, ndp_frames.MalformedNdp):
        return ()
    return (ndp.sender, ndp.target) if ndp.kind == ndp_frames.ADVERTISEMENT else (ndp.sender,)
