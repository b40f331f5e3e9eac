"""The input route of a request for ARP: martians, source validation, result. Pure.

After Linux net/ipv4/route.c (ip_route_input_slow, __mkroute_input) and fib_frontend.c (fib_validate_source).
"""

from __future__ import annotations

import enum

import msgspec

from strictarp.arp.facts import (
    BROADCAST,
    LIMITED_BROADCAST,
    LOCAL,
    LOOPBACK,
    UNICAST,
    Host,
    is_loopback,
    is_multicast,
)
from strictarp.arp.fib import Failed, Flow, Found, address_type, lookup


class Obstacle(enum.StrEnum):
    """Why there is no input route."""

    SENDER_MARTIAN = "sender-martian"
    SENDER_LOOPBACK = "sender-loopback"
    SENDER_IS_OURS = "sender-is-ours"
    SENDER_UNREACHABLE = "rp-filter-no-route-back"
    SENDER_ELSEWHERE = "rp-filter-other-interface"
    SENDER_NO_UNICAST = "sender-no-unicast"
    TARGET_ZERO = "target-zero"
    TARGET_BROADCAST = "target-broadcast"
    NO_ROUTE = "no-route"
    NOT_FORWARDING = "not-forwarding"
    SAME_INTERFACE = "same-interface"


class InputRoute(msgspec.Struct, frozen=True, gc=False):
    """Where a packet to `target` would go: kind "local" or "unicast" and the device out, or an obstacle."""

    kind: str = ""
    device: str = ""
    obstacle: Obstacle | None = None


def _no(obstacle: Obstacle) -> InputRoute:
    return InputRoute(obstacle=obstacle)


def input_route(host: Host, device: str, sender: int, target: int) -> InputRoute:
    """What ip_route_input says for a packet from `sender` to `target` that came in on `device`.

    `sender` is not 0, and 127/8 as target was judged before.
    """
    obstacle = _martian(host, device, sender, target)
    if obstacle is not None:
        return _no(obstacle)
    found = lookup(host, Flow(target, sender, iif=device))
    if isinstance(found, Failed):
        return _no(Obstacle.NO_ROUTE)
    if found.route.kind == BROADCAST:
        return _no(Obstacle.TARGET_BROADCAST)
    if found.route.kind == LOCAL:
        obstacle = validate_source(host, device, sender, target, out="")
    else:
        obstacle = _forwarding_obstacle(host, device, sender, target, found=found)
    return _no(obstacle) if obstacle else InputRoute(found.route.kind, found.device)


def _forwarding_obstacle(
    host: Host, device: str, sender: int, target: int, *, found: Found
) -> Obstacle | None:
    if not host.conf("forwarding", device):
        return Obstacle.NOT_FORWARDING
    if found.route.kind != UNICAST:
        return Obstacle.NO_ROUTE
    bad = validate_source(host, device, sender, target, out=found.device)
    if bad:
        return bad
    same = found.device == device and not host.conf("proxy_arp_pvlan", device)
    return Obstacle.SAME_INTERFACE if same else None


def _martian(host: Host, device: str, sender: int, target: int) -> Obstacle | None:
    if is_multicast(sender) or sender == LIMITED_BROADCAST:
        return Obstacle.SENDER_MARTIAN
    if target == LIMITED_BROADCAST:
        return Obstacle.TARGET_BROADCAST
    if target == 0:
        return Obstacle.TARGET_ZERO
    if is_loopback(sender) and not is_loopback(target) and not host.conf("route_localnet", device):
        return Obstacle.SENDER_LOOPBACK
    return None


def validate_source(host: Host, device: str, sender: int, target: int, *, out: str) -> Obstacle | None:
    """Whether a packet from `sender` may come in on `device` (fib_validate_source); None: it may.

    out: the device it would leave by, empty for a local target.
    """
    strictness = host.conf("rp_filter", device)
    if not strictness and not (out == device and host.conf("send_redirects", device)):
        if host.conf("accept_local", device):
            return None
        if not (host.has_custom_local_routes or host.unmerged):
            return Obstacle.SENDER_IS_OURS if sender in host.local_addresses else None
    return _full_check(
        host, device, Flow(sender, target, iif=out or LOOPBACK, vrf=host.vrf(device)), strictness
    )


def _full_check(host: Host, device: str, flow: Flow, strictness: int) -> Obstacle | None:
    """__fib_validate_source: the way back to the sender."""
    back = lookup(host, flow)
    if isinstance(back, Failed):
        return Obstacle.SENDER_UNREACHABLE if strictness else None
    if back.route.kind == LOCAL and not host.conf("accept_local", device):
        return Obstacle.SENDER_IS_OURS
    if back.route.kind not in (UNICAST, LOCAL):
        return Obstacle.SENDER_NO_UNICAST
    return None if _leaves_by(host, back, device) else _elsewhere(host, device, strictness)


def _leaves_by(host: Host, back: Found, device: str) -> bool:
    """fib_info_nh_uses_dev: one of the route's hops uses the device, or is in it if it is a VRF."""
    names = {hop.device for hop in back.route.hops}
    return device in names or any(host.vrf(name) == device for name in names if name != device)


def _elsewhere(host: Host, device: str, strictness: int) -> Obstacle | None:
    if not host.on_device.get(device):
        return Obstacle.SENDER_UNREACHABLE if strictness else None
    return Obstacle.SENDER_ELSEWHERE if strictness == 1 else None


def leaves_by_device(host: Host, device: str, sender: int, target: int) -> bool:
    """arp_filter's question: a packet of ours from `target` to `sender` would leave by `device`.

    After ip_route_output_key_hash_rcu; a local `sender` is reached by `lo` or the VRF.
    """
    vrf = host.vrf(device)
    if target not in host.local_addresses and address_type(host, target) != LOCAL:
        return False  # __ip_dev_find knows no table of a VRF
    found = lookup(host, Flow(sender, target, oif=vrf))
    if isinstance(found, Failed):
        return False
    if found.route.kind == LOCAL:
        return (host.vrf(found.device) or LOOPBACK) == device
    return found.device == device
