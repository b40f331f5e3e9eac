"""Answers that strictARP would take away: which, why, and how sure it is that somebody asks. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from strictarp.arp.deciding import decide
from strictarp.arp.explaining import ASKER_MAC, assumed_asker
from strictarp.arp.facts import LOOPBACK, UNICAST, VIP_DEVICE, Device, Host, dotted, is_loopback
from strictarp.arp.fates import Fate, named
from strictarp.arp.packets import Packet

_LOOPBACK_NET = 0x7F000000
_SHARING = ("macvlan", "ipvlan")
"""Kinds that hear the frames of the device they sit on."""

Asked = Mapping[tuple[str, int], int]
"""Requests that were seen: (interface, target) → who asked."""


class Reason(enum.StrEnum):
    """Why an answer is lost; what kind of configuration it is."""

    VIP = "vip"
    LOOPBACK_NET = "route-localnet"
    POINT_TO_POINT = "point-to-point"
    UNNUMBERED = "unnumbered-interface"
    PREFIX = "prefix-or-anyip"
    ON_LOOPBACK = "on-loopback"
    ON_DUMMY = "on-dummy"
    ON_PORT = "on-bridge-port-or-bond-slave"
    OTHER_VRF = "other-vrf"
    OTHER_INTERFACE = "other-interface"


class Evidence(enum.StrEnum):
    """How sure it is that somebody asks there."""

    WANTED = "wanted"
    """It is what strictARP is for."""
    SEEN = "seen"
    """A request was heard."""
    LIKELY = "likely"
    """The link's hosts would take the address for a neighbour."""
    NONE = "none"
    """Nobody is known who would ask there."""


class Loss(msgspec.Struct, frozen=True):
    """Answered now, silent afterwards. target: an address or prefix; holder: where it is; count: of VIPs."""

    interface: str
    target: str
    holder: str
    reason: Reason
    evidence: Evidence
    because: str
    count: int = 1


def is_enslaved(host: Host, device: Device) -> bool:
    """A port of a bridge, or a slave of a bond: its master sees what arrives."""
    master = host.by_name.get(device.master)
    return master is not None and master.kind != "vrf"


def answered(host: Host, device: str, target: int, asker: int) -> bool:
    """An ordinary request on the device is answered; by an asker 0 it is a probe."""
    return decide(host, device, Packet(asker, target, ASKER_MAC)).answered


def sample_of(host: Host, address: int, prefix: int) -> int:
    """An address of a local prefix that no interface has itself."""
    last = min((1 << (32 - prefix)) - 1, 1000)
    inside = (address + offset for offset in range(min(1, last), last + 1))
    return next((each for each in inside if each not in host.local_addresses), address)


def losses_on(host: Host, after: Host, device: str, asked: Asked, *, vips: Sequence[Fate]) -> Iterator[Loss]:
    """What requests that arrive on the device lose. Of Service IPs with one fate the first is judged."""
    lost = [
        vip
        for fate in vips
        if _is_lost(host, after, device, fate[0], assumed_asker(host, device, fate[0]))
        for vip in fate
    ]
    if lost:
        because = f"held by {VIP_DEVICE} on every node: only the announcer may answer"
        shown = named(lost, len(host.vips))
        yield Loss(device, shown, VIP_DEVICE, Reason.VIP, Evidence.WANTED, because, len(lost))
    for address, prefix, holder in (*host.targets, *_loopback_net(host, device)):
        target = address if prefix == 32 else _asked_in(device, address, prefix, asked)
        target = target or sample_of(host, address, prefix)
        asker = asked.get((device, target), assumed_asker(host, device, target))
        if _is_lost(host, after, device, target, asker):
            reason = _reason(host, device, target, holder)
            evidence, because = _evidence(host, device, target, asked)
            stays = _stays(host, after, device, target, asker)
            if stays:
                evidence, because = Evidence.NONE, f"{stays}, on the same link, goes on answering"
            shown = dotted(address) if prefix == 32 else f"{dotted(address)}/{prefix}"
            yield Loss(device, shown, holder, reason, evidence, because)


def _asked_in(device: str, address: int, prefix: int, asked: Asked) -> int:
    """An address of a local prefix that somebody asked for on the device, 0 for none."""
    shift = 32 - prefix
    return next((tip for name, tip in asked if name == device and tip >> shift == address >> shift), 0)


def _loopback_net(host: Host, device: str) -> tuple[tuple[int, int, str], ...]:
    """127/8 is asked for and answered like any other prefix where route_localnet is on."""
    return ((_LOOPBACK_NET, 8, LOOPBACK),) if host.conf("route_localnet", device) else ()


def _is_lost(host: Host, after: Host, device: str, target: int, asker: int) -> bool:
    return answered(host, device, target, asker) and not answered(after, device, target, asker)


def _stays(host: Host, after: Host, device: str, target: int, asker: int) -> str:
    """Another interface that hears the same request and answers it afterwards, empty without one."""
    for name in _same_link(host, device):
        other = host.by_name[name]
        if other.up and other.arp and not is_enslaved(host, other) and answered(after, name, target, asker):
            return name
    return ""


def _same_link(host: Host, device: str) -> Iterator[str]:
    """Interfaces in one subnet with the device, and macvlans and ipvlans with their parent and each other."""
    networks = _networks(host, device)
    if networks:
        yield from (name for name in host.on_device if name != device and networks & _networks(host, name))
    mine = host.by_name[device]
    parent = mine.lower if mine.kind in _SHARING else device
    for other in host.devices:
        if other.name != device and (
            (other.kind in _SHARING and other.lower == parent) or other.name == parent
        ):
            yield other.name


def _networks(host: Host, device: str) -> set[str]:
    return {each.network for each in host.on_device.get(device, ()) if each.prefix < 32}


def _reason(host: Host, device: str, target: int, holder: str) -> Reason:
    own = host.on_device.get(device, ())
    where = host.by_name.get(holder)
    on_port = where is not None and is_enslaved(host, where)
    reasons = (
        (is_loopback(target), Reason.LOOPBACK_NET),
        (any(each.local == target for each in own), Reason.POINT_TO_POINT),
        (target not in host.local_addresses, Reason.PREFIX),
        (on_port, Reason.ON_PORT),
        (host.vrf(holder) != host.vrf(device), Reason.OTHER_VRF),
        (not own, Reason.UNNUMBERED),
        (holder == LOOPBACK, Reason.ON_LOOPBACK),
        (where is not None and where.kind == "dummy", Reason.ON_DUMMY),
    )
    return next((reason for holds, reason in reasons if holds), Reason.OTHER_INTERFACE)


def _evidence(host: Host, device: str, target: int, asked: Asked) -> tuple[Evidence, str]:
    if (device, target) in asked:
        return Evidence.SEEN, f"{dotted(asked[device, target])} asked for it"
    own = host.on_device.get(device, ())
    covering = [each for each in own if each.covers(target)]
    if covering:
        network = covering[0].network
        return Evidence.LIKELY, f"it is in the subnet {network} of {device}: its hosts ask for it there"
    if any(each.local == target for each in own):
        return (
            Evidence.LIKELY,
            f"it is an address of {device} itself, with a peer whose prefix does not cover it",
        )
    if not own and host.conf("proxy_arp", device):
        return (
            Evidence.NONE,
            "proxy_arp answers there: those behind it ask for their gateway alone, as with Calico",
        )
    if not own:
        far = _routed_by(host, device)
        if far:
            return (
                Evidence.LIKELY,
                f"{device} has no address, and {far} is behind it: it may ask for this host's addresses",
            )
    return Evidence.NONE, "nobody is known who would ask for it there"


def _routed_by(host: Host, device: str) -> str:
    for route in host.routes:
        if route.kind == UNICAST and route.prefix and any(hop.device == device for hop in route.hops):
            return (
                dotted(route.destination)
                if route.prefix == 32
                else f"{dotted(route.destination)}/{route.prefix}"
            )
    return ""
