"""A host as it comes about command by command: what the kernel makes of `ip link`, `ip addr`, ... Pure.

It makes the routes that the kernel makes for addresses (net/ipv4/fib_frontend.c fib_add_ifaddr), the order
and marks of addresses (devinet.c __inet_insert_ifa), and keeps what a device that goes down loses.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strictarp.arp.facts import (
    BROADCAST,
    DEFAULT_RULES,
    LOCAL,
    LOOPBACK,
    SCOPE_HOST,
    TABLE_LOCAL,
    TABLE_MAIN,
    UNICAST,
    Address,
    Device,
    Hop,
    Host,
    PolicyRule,
    ProxyNeighbour,
    Route,
    looped,
)
from strictarp.arp.fib import Flow, Found, lookup
from strictarp.arp.iproute import AddressSpec
from strictarp.arp.nft import NO_RULES, Ruleset, Table
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.tc import Filter
from strictarp.arp.unsupported import Unsupported
from strictarp.sysctl.devconf import DeviceConf

SMALLEST_MTU = 68
"""Below it a device has no IPv4 (net/ipv4/devinet.c inetdev_valid_mtu)."""
_LOOPBACK_ADDRESS = AddressSpec(0x7F000001, 0x7F000001, 8, SCOPE_HOST)


class _Held(msgspec.Struct):
    """An address on a device; `born`: when it was added."""

    spec: AddressSpec
    secondary: bool
    born: int


class Builder:
    """A namespace under construction. It starts with `lo`, up.

    Raises Unsupported from every method for what cannot be: a device that does not exist.
    """

    def __init__(self) -> None:
        self.conf = DeviceConf()
        self.proxy_delay: dict[str, int] = {}
        self.proxy_neighbours: list[ProxyNeighbour] = []
        self.rules: list[PolicyRule] = list(DEFAULT_RULES)
        self.unmerged = False
        self.nft: Ruleset = NO_RULES
        self.tc: list[Filter] = []
        self._devices: dict[str, Device] = {}
        self._addresses: dict[str, list[_Held]] = {}
        self._routes: list[Route] = []
        self._unmade: set[Route] = set()
        """Routes that the kernel made and somebody deleted."""
        self._nft_text = ""
        self._now = 0
        self._raised: dict[str, int] = {}
        """When a device came up last. Of equal routes the older one counts."""
        self.add_device(Device(LOOPBACK, bytes(6), mtu=65536))
        self.add_address(LOOPBACK, _LOOPBACK_ADDRESS)

    def add_device(self, device: Device) -> None:
        """Register a device, behind the others. The first VRF brings its rule; a VLAN inherits NOARP."""
        if device.kind == "vlan" and device.lower in self._devices:
            inherited = device.arp and self._devices[device.lower].arp
            device = msgspec.structs.replace(device, arp=inherited)
        self._devices[device.name] = device
        self._addresses[device.name] = []
        self.conf.add_device(device.name)
        if device.kind == "vrf" and not any(rule.l3mdev for rule in self.rules):
            self.add_rule(PolicyRule(1000, l3mdev=True))

    def remove_device(self, name: str) -> None:
        """Delete a device with all that is on it."""
        self.device(name)
        del self._devices[name], self._addresses[name]
        self.conf.remove_device(name)
        self._routes = [route for route in self._routes if name not in {hop.device for hop in route.hops}]

    def _tick(self) -> int:
        self._now += 1
        return self._now

    def device(self, name: str) -> Device:
        """A device. Raises Unsupported without it."""
        if name not in self._devices:
            raise Unsupported(f"there is no device {name!r}")
        return self._devices[name]

    def change_device(self, name: str, **changes: object) -> None:
        """Change fields of a device; going down loses its routes, a tiny MTU all its IPv4.

        VLANs follow their parent up and down (net/8021q/vlan.c vlan_device_event).
        """
        before = self.device(name)
        after = msgspec.structs.replace(before, **changes)
        self._devices[name] = after
        if after.up and not before.up:
            self._raised[name] = self._tick()
        if before.up and not after.up:
            self._routes = [
                route
                for route in self._routes
                if route.kind == LOCAL or {hop.device for hop in route.hops} != {name}
            ]
        if after.up != before.up:
            for vlan in [
                each for each in self._devices.values() if each.kind == "vlan" and each.lower == name
            ]:
                self.change_device(vlan.name, up=after.up)
        if after.mtu < SMALLEST_MTU <= before.mtu:
            self._addresses[name] = []
            self.conf.remove_device(name)
        if before.mtu < SMALLEST_MTU <= after.mtu:
            self.conf.add_device(name)

    def add_address(self, name: str, spec: AddressSpec) -> None:
        """Add an address; behind the primaries of its scope or a narrower one, or as a secondary."""
        if self.device(name).mtu < SMALLEST_MTU:
            raise Unsupported(f"ip addr add: the MTU of {name} is below {SMALLEST_MTU}, it has no IPv4")
        held = self._addresses[name]
        same = [each for each in held if _same_subnet(each.spec, spec)]
        secondary = bool(same)
        at = len(held)
        if not secondary:
            fitting = [
                i for i, each in enumerate(held) if not each.secondary and spec.scope <= each.spec.scope
            ]
            at = fitting[-1] + 1 if fitting else 0
        held.insert(at, _Held(spec, secondary, self._tick()))
        self.conf.address_added(name)

    def remove_address(self, name: str, spec: AddressSpec) -> None:
        """Delete an address; secondaries of its subnet go with it, or move up (promote_secondaries)."""
        self.device(name)
        held = self._addresses[name]
        found = [e for e in held if e.spec.local == spec.local and spec.prefix in (e.spec.prefix, 32)]
        if not found:
            raise Unsupported(f"ip addr del: {name} has no such address")
        gone = found[0]
        held.remove(gone)
        if gone.secondary:
            return
        heirs = [each for each in held if each.secondary and _same_subnet(each.spec, gone.spec)]
        promote = self.conf.read("all", "promote_secondaries") or self.conf.read(name, "promote_secondaries")
        for each in heirs:
            held.remove(each)
        if promote:
            for each in heirs:
                self.add_address(name, each.spec)

    def flush_addresses(self, name: str) -> None:
        """Delete all addresses of a device."""
        self.device(name)
        self._addresses[name] = []

    def add_route(self, route: Route, *, vrf: str = "", replace: bool = False) -> None:
        """Add a route; a hop without a device gets that of the route to its gateway."""
        if vrf:
            route = msgspec.structs.replace(route, table=self.device(vrf).table)
        hops = tuple(hop if hop.device else self._resolved(hop) for hop in route.hops)
        route = msgspec.structs.replace(route, hops=hops)
        if replace:
            self.remove_route(route, missing_is_fine=True)
        self._routes.append(route)

    def _resolved(self, hop: Hop) -> Hop:
        found = lookup(self.build(), Flow(hop.gateway, 0))
        if not isinstance(found, Found):
            raise Unsupported("ip route: the gateway is not reachable")
        return Hop(found.device, hop.gateway)

    def remove_route(self, route: Route, *, missing_is_fine: bool = False) -> None:
        """Delete the first route that fits (`_same_route`), be it one that the kernel made."""
        for each in self._routes:
            if _same_route(each, route):
                self._routes.remove(each)
                return
        made = next((each for each in self.build().routes if _same_route(each, route)), None)
        if made is not None:
            self._unmade.add(made)
        elif not missing_is_fine:
            raise Unsupported("ip route del: there is no such route")

    def add_rule(self, rule: PolicyRule) -> None:
        """Add a rule. Without a priority it comes before the second of the list (fib_default_rule_pref)."""
        if rule.priority < 0:
            ordered = sorted(each.priority for each in self.rules)
            rule = msgspec.structs.replace(rule, priority=max(0, ordered[1] - 1) if len(ordered) > 1 else 0)
        self.rules.append(rule)
        self.unmerged = True

    def remove_rule(self, rule: PolicyRule, given: frozenset[str]) -> None:
        """Delete the first rule that agrees in the fields given."""
        for each in sorted(self.rules, key=lambda rule: rule.priority):
            if all(getattr(each, field) == getattr(rule, field) for field in given if hasattr(each, field)):
                self.rules.remove(each)
                self.unmerged = True
                return
        raise Unsupported("ip rule del: there is no such rule")

    def add_nft(self, text: str) -> None:
        """Carry out a script of nftables, after those before it. Raises Unsupported."""
        self._nft_text += text + "\n"
        self.load_nft(parse_nft(self._nft_text))

    def load_nft(self, rules: Ruleset) -> None:
        """Put tables of nftables in place; one of the same name is replaced."""
        tables: dict[tuple[str, str], Table] = {(each.family, each.name): each for each in self.nft.tables}
        tables.update({(each.family, each.name): each for each in rules.tables})
        self.nft = Ruleset(tuple(tables.values()))

    def build(self) -> Host:
        """The host as it is now."""
        loop = looped(self._devices.values())
        if loop:
            raise Unsupported(f"the device {loop!r} sits on itself")
        devices = _settled(self._devices)
        addresses: list[Address] = []
        routes: list[tuple[int, int, Route]] = []
        for device in devices.values():
            held = self._addresses[device.name]
            addresses += [
                Address(
                    device.name,
                    each.spec.local,
                    each.spec.peer,
                    each.spec.prefix,
                    each.spec.scope,
                    each.secondary,
                )
                for each in held
            ]
            master = devices.get(device.master)
            vrf = device if device.kind == "vrf" else master
            table = vrf.table if vrf is not None and vrf.kind == "vrf" else 0
            raised = self._raised.get(device.name, 0)
            for each in held:
                local, *others = _routes_of(device, each, table)
                source = next(one for one in held if _same_subnet(one.spec, each.spec)).spec.local
                routes.append((each.born, source, local))
                routes += [(max(each.born, raised), source, other) for other in others]
        return Host(
            devices=tuple(devices.values()),
            addresses=tuple(addresses),
            routes=(*(each for each in _by_age(routes) if each not in self._unmade), *self._routes),
            rules=tuple(self.rules),
            sysctls=self.conf.snapshot(),
            proxy_delay=dict(self.proxy_delay),
            proxy_neighbours=tuple(self.proxy_neighbours),
            unmerged=self.unmerged,
            nft=self.nft,
            tc=tuple(self.tc),
        )


def _by_age(routes: list[tuple[int, int, Route]]) -> list[Route]:
    """Of (age, source address, route) those that the kernel takes: an address that was somebody's broadcast
    address before it was local is no valid source (fib_valid_prefsrc). A secondary's source is its primary.
    """
    taken: dict[Route, None] = {}
    first: dict[tuple[int, int], str] = {}
    for _, source, route in sorted(routes, key=lambda entry: entry[0]):
        table = TABLE_LOCAL if route.table == TABLE_MAIN else route.table
        itself = route.kind == LOCAL and route.destination == source
        if not itself and first.get((table, source)) == BROADCAST:
            continue
        taken[route] = None
        if route.prefix == 32:
            first.setdefault((route.table, route.destination), route.kind)
    return list(taken)


def _same_route(one: Route, other: Route) -> bool:
    """As `ip route del` looks for it: `other` may leave the metric, the device and the type open."""
    devices = {hop.device for hop in other.hops} - {""}
    return (
        (one.table, one.destination, one.prefix) == (other.table, other.destination, other.prefix)
        and other.metric in (0, one.metric)
        and other.kind in (UNICAST, one.kind)
        and devices <= {hop.device for hop in one.hops}
    )


def _same_subnet(one: AddressSpec, other: AddressSpec) -> bool:
    return one.prefix == other.prefix and (one.peer ^ other.peer) >> (32 - one.prefix) == 0


def _routes_of(device: Device, held: _Held, vrf_table: int) -> list[Route]:
    """What fib_add_ifaddr adds, given whether the device is up now."""
    spec = held.spec
    near = vrf_table or TABLE_LOCAL
    hop = (Hop(device.name),)
    routes = [Route(near, LOCAL, spec.local, 32, hop)]
    if not device.up:
        return routes
    bits = 32 - spec.prefix
    prefix = spec.peer >> bits << bits
    if spec.broadcast:
        routes.append(Route(near, BROADCAST, spec.broadcast, 32, hop))
    if prefix and not held.secondary and (prefix != spec.local or bits):
        if spec.prefix_route:
            on_lo = device.name == LOOPBACK
            kind, table = (LOCAL, TABLE_LOCAL) if on_lo else (UNICAST, TABLE_MAIN)
            routes.append(Route(vrf_table or table, kind, prefix, spec.prefix, hop))
        if bits > 1:
            routes.append(Route(near, BROADCAST, prefix | ((1 << bits) - 1), 32, hop))
    return routes


def _settled(devices: Mapping[str, Device]) -> dict[str, Device]:
    """Devices with what follows from each other: the MACs and the active slave of bonds, ipvlans' MAC."""
    settled = dict(devices)
    for bond in devices.values():
        if bond.kind != "bond":
            continue
        slaves = [each for each in devices.values() if each.master == bond.name]
        running = [each.name for each in slaves if each.up and each.carrier]
        one_only = bond.mode in ("active-backup", "balance-alb")
        for slave in slaves:
            active = slave.name in running[:1] if one_only else slave.name in running
            settled[slave.name] = msgspec.structs.replace(slave, mac=bond.mac, active=active)
    for device in devices.values():
        lower = devices.get(device.lower)
        if device.kind == "ipvlan" and lower is not None:
            quiet = device.mode.startswith("l3")
            settled[device.name] = msgspec.structs.replace(
                device, mac=lower.mac, arp=device.arp and not quiet
            )
    return settled
