"""IPv4 route lookup: tables, policy rules, and what of them ARP sees. Pure.

After Linux net/ipv4/fib_trie.c (fib_table_lookup), fib_rules.c and net/core/fib_rules.c. Marks, ports and
protocols are 0 in every lookup for ARP.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from strictarp.arp.facts import (
    BROADCAST,
    LIMITED_BROADCAST,
    LOCAL,
    LOOPBACK,
    TABLE_DEFAULT,
    TABLE_LOCAL,
    TABLE_MAIN,
    UNICAST,
    Host,
    PolicyRule,
    Route,
    is_multicast,
)

_ERRORS = {"blackhole": "blackhole", "unreachable": "unreachable", "prohibit": "prohibit", "throw": ""}
NO_ROUTE = "no route"


class Flow(msgspec.Struct, frozen=True, gc=False):
    """What is looked up. vrf: the VRF the packet belongs to (flowi_l3mdev)."""

    destination: int
    source: int
    iif: str = LOOPBACK
    oif: str = ""
    vrf: str = ""
    ignore_link_down: bool = False


class Found(msgspec.Struct, frozen=True, gc=False):
    """A route, and the device of the next hop that was taken."""

    route: Route
    device: str


class Failed(msgspec.Struct, frozen=True, gc=False):
    """No way: "no route", or what a route or rule says ("blackhole", "unreachable", "prohibit")."""

    error: str = NO_ROUTE


_CONTINUE = Failed("")
"""Nothing in this table: -EAGAIN, the next rule is asked."""


def lookup_table(host: Host, table: int, flow: Flow) -> Found | Failed:
    """The longest prefix of one table that leads somewhere (fib_table_lookup).

    `local` and `main` are one table until a rule is changed (fib_trie_table's alias).
    """
    merged = not host.unmerged and table in (TABLE_LOCAL, TABLE_MAIN)
    for prefix, networks in host.fib.get(TABLE_MAIN if merged else table, ()):
        for route in networks.get(flow.destination >> (32 - prefix), ()):
            if route.kind in _ERRORS:
                return Failed(_ERRORS[route.kind])
            for hop in route.hops:
                if _usable(host, hop.device, route, flow):
                    return Found(route, hop.device)
    return _CONTINUE


def _usable(host: Host, name: str, route: Route, flow: Flow) -> bool:
    """fib_lookup_good_nhc. A local route outlives that its device goes down, others do not."""
    if flow.oif and flow.oif != name:
        return False
    device = host.by_name.get(name)
    if device is None or route.kind == LOCAL:
        return True
    if not device.up:
        return False
    dead_link = not device.carrier and not flow.ignore_link_down
    return not (dead_link and host.conf("ignore_routes_with_linkdown", name))


def lookup(host: Host, flow: Flow) -> Found | Failed:
    """The route of a packet (fib_lookup): by rules, or directly while there never were any."""
    if host.unmerged:
        return _by_rules(host, _settled(host, flow))
    found = lookup_table(host, TABLE_MAIN, flow)
    if isinstance(found, Failed):
        found = lookup_table(host, TABLE_DEFAULT, flow)
    return Failed() if found == _CONTINUE else found


def _settled(host: Host, flow: Flow) -> Flow:
    """l3mdev_update_flow: the VRF follows from the devices; naming the VRF as way out means its table."""
    vrf, oif = flow.vrf, flow.oif
    if oif:
        vrf = vrf or host.vrf(oif)
        if host.by_name[oif].kind == "vrf":
            oif = ""
    elif flow.iif != LOOPBACK:
        vrf = vrf or host.vrf(flow.iif)
    return msgspec.structs.replace(flow, vrf=vrf, oif=oif)


def _by_rules(host: Host, flow: Flow) -> Found | Failed:
    rules = sorted(host.rules, key=lambda rule: rule.priority)
    position = 0
    while position < len(rules):
        rule = rules[position]
        position += 1
        if not _matches(rule, flow):
            continue
        if rule.action == "goto":
            position = next((i for i, r in enumerate(rules) if r.priority >= rule.target), len(rules))
            if position == len(rules) or rules[position].priority != rule.target:
                position = rules.index(rule) + 1
            continue
        if rule.action == "nop":
            continue
        if rule.action != "lookup":
            return Failed(rule.action)
        table = host.by_name[flow.vrf].table if rule.l3mdev else rule.table
        found = lookup_table(host, table, flow)
        if isinstance(found, Found) and found.route.prefix <= rule.suppress_prefix:
            continue
        if found != _CONTINUE:
            return found
    return Failed()


def _within(address: int, network: tuple[int, int]) -> bool:
    return (address ^ network[0]) >> (32 - network[1]) == 0


def _matches(rule: PolicyRule, flow: Flow) -> bool:
    """fib_rule_match and fib4_rule_match."""
    hit = (
        not rule.never
        and rule.iif in ("", flow.iif, flow.vrf or flow.iif)
        and rule.oif in ("", flow.oif or None)
        and (not rule.l3mdev or bool(flow.vrf))
        and _within(flow.source, rule.source)
        and _within(flow.destination, rule.destination)
    )
    return hit != rule.inverted


def address_type(host: Host, address: int, device: str = "") -> str:
    """What an address is to this host: local, broadcast, unicast, ... (inet_addr_type_dev_table).

    Looks at one table only, that of the device's VRF or `local`; rules do not count.
    """
    if address in (0, LIMITED_BROADCAST):
        return BROADCAST
    if is_multicast(address):
        return "multicast"
    table = host.local_table(device) if device else TABLE_LOCAL
    found = lookup_table(host, table, Flow(address, 0))
    return found.route.kind if isinstance(found, Found) else UNICAST


def other_hops(host: Host) -> Iterator[Host]:
    """The host as it is when the kernel takes the second, third, ... of a route's hops.

    It hashes the addresses with a key that is drawn at boot (fib_multipath_hash): nobody can foresee which.
    """
    for turn in range(1, max((len(route.hops) for route in host.routes), default=0)):
        routes = tuple(
            msgspec.structs.replace(
                route, hops=route.hops[turn % len(route.hops) :] + route.hops[: turn % len(route.hops)]
            )
            if len(route.hops) > 1
            else route
            for route in host.routes
        )
        yield msgspec.structs.replace(host, routes=routes)
