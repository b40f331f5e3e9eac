"""What the kernel told by netlink, as facts of a host. Pure; asked for by `collecting`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from strictarp.arp import facts
from strictarp.arp.facts import DEFAULT_RULES, Host, PolicyRule
from strictarp.netlink import policy, rtnl
from strictarp.netlink.stacking import Stacking

CONF_KEYS = (
    "accept_local",
    "arp_accept",
    "arp_announce",
    "arp_filter",
    "arp_ignore",
    "arp_notify",
    "drop_gratuitous_arp",
    "forwarding",
    "ignore_routes_with_linkdown",
    "medium_id",
    "proxy_arp",
    "proxy_arp_pvlan",
    "route_localnet",
    "rp_filter",
    "send_redirects",
)
"""Keys of net.ipv4.conf that bear on ARP."""

_KINDS = dict(
    enumerate(
        (
            "unspec",
            "unicast",
            "local",
            "broadcast",
            "anycast",
            "multicast",
            "blackhole",
            "unreachable",
            "prohibit",
            "throw",
        )
    )
)
_SECONDARY = 0x01
_ACTIONS = {
    policy.ACTION_LOOKUP: "lookup",
    policy.ACTION_GOTO: "goto",
    policy.ACTION_NOP: "nop",
    policy.ACTION_BLACKHOLE: "blackhole",
    policy.ACTION_UNREACHABLE: "unreachable",
    policy.ACTION_PROHIBIT: "prohibit",
}


class Told(msgspec.Struct, frozen=True):
    """Everything that was asked for. merged: `local` and `main` are one table. inherit: as `Host.inherit`."""

    links: Sequence[tuple[rtnl.Link, Stacking]]
    addresses: Sequence[rtnl.Address]
    routes: Sequence[rtnl.Route]
    rules: Sequence[policy.Rule]
    proxies: Sequence[rtnl.Neighbour]
    sysctls: Mapping[str, Mapping[str, int]]
    proxy_delay: Mapping[str, int]
    merged: bool
    inherit: int = -1


def gather(told: Told) -> Host:
    """The facts. What refers to a device that is gone by now is left out."""
    links = sorted(told.links, key=lambda pair: pair[0].index)
    names = {link.index: link.name for link, _ in links}
    rules = tuple(_rule(rule) for rule in told.rules)
    return Host(
        devices=tuple(_device(link, stacking, names) for link, stacking in links),
        addresses=tuple(
            _address(each, names[each.index])
            for each in told.addresses
            if len(each.address) == 4 and each.index in names
        ),
        routes=tuple(_route(each, names) for each in told.routes if each.width == 4),
        rules=rules,
        sysctls=told.sysctls,
        proxy_delay=told.proxy_delay,
        proxy_neighbours=tuple(
            facts.ProxyNeighbour(_number(each.address), names.get(each.index, ""))
            for each in told.proxies
            if len(each.address) == 4
        ),
        unmerged=not told.merged or rules != DEFAULT_RULES,
        inherit=told.inherit,
    )


def _number(packed: bytes) -> int:
    return int.from_bytes(packed, "big")


def _device(link: rtnl.Link, stacking: Stacking, names: Mapping[int, str]) -> facts.Device:
    return facts.Device(
        name=link.name,
        mac=link.mac,
        kind=link.kind,
        up=bool(link.flags & rtnl.IFF_UP),
        carrier=link.carrier or not link.flags & rtnl.IFF_UP,
        arp=not link.flags & rtnl.IFF_NOARP,
        mtu=link.mtu,
        master=names.get(link.master, ""),
        lower=names.get(stacking.lower, ""),
        vlan=stacking.vlan,
        table=stacking.table,
        mode=stacking.mode,
        active=not stacking.backup,
    )


def _address(each: rtnl.Address, device: str) -> facts.Address:
    return facts.Address(
        device,
        _number(each.address),
        _number(each.peer or each.address),
        each.prefix,
        each.scope,
        bool(each.flags & _SECONDARY),
    )


def _route(each: rtnl.Route, names: Mapping[int, str]) -> facts.Route:
    hops = (
        facts.Hop(names[hop.index], _number(hop.gateway) if len(hop.gateway) == 4 else 0)
        for hop in each.hops
        if hop.index in names
    )
    return facts.Route(
        each.table,
        _KINDS.get(each.kind, str(each.kind)),
        _number(each.destination),
        each.prefix,
        tuple(hops),
        each.metric,
        tos=each.tos,
        custom=each.protocol != rtnl.PROTOCOL_KERNEL,
    )


def _rule(each: policy.Rule) -> PolicyRule:
    return PolicyRule(
        each.priority,
        action=_ACTIONS.get(each.action, "blackhole"),
        table=each.table if each.action == policy.ACTION_LOOKUP and not each.l3mdev else 0,
        source=(_number(each.source), each.source_prefix),
        destination=(_number(each.destination), each.destination_prefix),
        iif=each.iif,
        oif=each.oif,
        inverted=each.inverted,
        l3mdev=each.l3mdev,
        never=each.beyond,
        suppress_prefix=each.suppress_prefix,
        target=each.target,
    )


def is_merged(fib_trie: Iterable[str]) -> bool:
    """Whether `local` and `main` are one table, by /proc/net/fib_trie: then `main` holds local routes.

    That is so until a policy rule is changed for the first time (fib_unmerge in net/ipv4/fib_frontend.c).
    """
    table = ""
    for line in fib_trie:
        if line.startswith(("Main:", "Local:", "Id ")):
            table = line.strip()
        elif table == "Main:" and line.rstrip().endswith("host LOCAL"):
            return True
    return False
