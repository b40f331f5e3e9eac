"""A host as it comes about command by command: what the kernel makes of `ip link`, `ip addr`, ... Pure.

It makes the routes that the kernel makes for addresses (net/ipv4/fib_frontend.c fib_add_ifaddr), the order
and marks of addresses (devinet.c __inet_insert_ifa), and keeps what a device that goes down loses.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strictarp.arp.facts import (
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
    dotted,
    looped,
)
from strictarp.arp.fib import Failed, Flow, Found, address_type, lookup, lookup_table
from strictarp.arp.iproute import AddressSpec, RouteSpec
from strictarp.arp.kernel_routes import Held, by_age, routes_of, same_key, same_route, same_subnet
from strictarp.arp.nft import NO_RULES, Ruleset, Table
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.tc import Filter
from strictarp.arp.unsupported import Refused, Unsupported
from strictarp.sysctl.devconf import DeviceConf

SMALLEST_MTU = 68
"""Below it a device has no IPv4 (net/ipv4/devinet.c inetdev_valid_mtu)."""
MASTERS = ("bond", "bridge", "vrf")
"""Kinds of devices that others can be put into."""
_LOOPBACK_ADDRESS = AddressSpec(0x7F000001, 0x7F000001, 8, SCOPE_HOST)


class Builder:
    """A namespace under construction. It starts with `lo`, up.

    Raises Unsupported from every method for what cannot be: a device that does not exist; and Refused for
    what the kernel does not do: an address that is there already.
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
        self._addresses: dict[str, list[Held]] = {}
        self._routes: list[Route] = []
        self._sources: dict[Route, int] = {}
        """Preferred sources of routes."""
        self._had_local_routes = False
        self._unmade: set[Route] = set()
        """Routes that the kernel made and somebody deleted."""
        self._nft_text = ""
        self._now = 0
        self._spare = 0
        self._preferred: dict[str, str] = {}
        """Bond → the slave that was chosen."""
        self._raised: dict[str, int] = {}
        """When a device came up last. Of equal routes the older one counts."""
        self.add_device(Device(LOOPBACK, bytes(6), mtu=65536))
        self.add_address(LOOPBACK, _LOOPBACK_ADDRESS)

    def add_device(self, device: Device) -> None:
        """Register a device, behind the others. The first VRF brings its rule; a VLAN inherits NOARP."""
        if device.name in self._devices:
            raise Refused(f"ip link add: there is a device {device.name!r} already")
        if device.kind == "vlan" and device.lower in self._devices:
            inherited = device.arp and self._devices[device.lower].arp
            device = msgspec.structs.replace(device, arp=inherited)
        self._devices[device.name] = device
        self._addresses[device.name] = []
        self.conf.add_device(device.name)
        if device.kind == "vrf" and not any(rule.l3mdev for rule in self.rules):
            self.add_rule(PolicyRule(1000, l3mdev=True))

    def spare_mac(self) -> bytes:
        """A MAC for a device whose own is the kernel's choice: nobody's here."""
        self._spare += 1
        return bytes((0x06, 0, 0, 0, self._spare >> 8, self._spare & 0xFF))

    def remove_device(self, name: str) -> None:
        """Delete a device with all that is on it; what is in it stands alone again."""
        self.device(name)
        for other in list(self._devices.values()):
            if other.master == name:
                self.change_device(other.name, master="")
            if other.lower == name and other.name in self._devices:
                self.remove_device(other.name)
        del self._devices[name], self._addresses[name]
        self.conf.remove_device(name)
        self._routes = [route for route in self._routes if name not in {hop.device for hop in route.hops}]
        self.proxy_neighbours = [each for each in self.proxy_neighbours if each.device != name]

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
        if after.master != before.master:
            after = self._enslaved(before, after)
        self._devices[name] = after
        if after.up and not before.up:
            self._raised[name] = self._tick()
            # Every address makes its routes again, deleted or not (fib_netdev_event).
            self._unmade = {route for route in self._unmade if name not in {hop.device for hop in route.hops}}
        if before.up and not after.up:
            self._drop_routes(name)
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

    def _enslaved(self, before: Device, after: Device) -> Device:
        """A bond takes only what is down, and brings it up; what joins or leaves a VRF loses its routes."""
        master = self.device(after.master) if after.master else None
        if master is not None and master.kind not in MASTERS:
            raise Refused(f"ip link set {after.name} master {master.name}: it takes none")
        bond = master is not None and master.kind == "bond"
        if bond and before.up:
            raise Refused(f"ip link set {after.name} master {after.master}: it is up")
        masters = (each for each in (before.master, after.master) if each in self._devices)
        if any(self._devices[each].kind == "vrf" for each in masters):
            self._drop_routes(after.name, all_kinds=True)
            self._raised[after.name] = self._tick()
        return msgspec.structs.replace(after, up=after.up or bond)

    def add_address(self, name: str, spec: AddressSpec, *, there_is_fine: bool = False) -> None:
        """Add an address; behind the primaries of its scope or a narrower one, or as a secondary."""
        if self.device(name).mtu < SMALLEST_MTU:
            raise Unsupported(f"ip addr add: the MTU of {name} is below {SMALLEST_MTU}, it has no IPv4")
        held = self._addresses[name]
        twins = [e for e in held if e.spec.local == spec.local and same_subnet(e.spec, spec)]
        if twins:
            if there_is_fine:
                return
            raise Refused(f"ip addr add: {name} has this address already")
        same = [each for each in held if same_subnet(each.spec, spec)]
        if any(each.spec.scope != spec.scope for each in same):
            raise Refused(f"ip addr add: another scope than that of {name}'s addresses in this subnet")
        self._check_ipvlan(name, spec)
        secondary = bool(same)
        at = len(held)
        if not secondary:
            fitting = [
                i for i, each in enumerate(held) if not each.secondary and spec.scope <= each.spec.scope
            ]
            at = fitting[-1] + 1 if fitting else 0
        held.insert(at, Held(spec, secondary, self._tick()))
        self.conf.address_added(name)

    def _check_ipvlan(self, name: str, spec: AddressSpec) -> None:
        """The ipvlans of one parent take an address once, whatever its prefix (ipvlan_addr4_validator_event).

        They tell their frames apart by it. Of a point-to-point address the peer's side counts.
        """
        device = self.device(name)
        if device.kind != "ipvlan":
            return
        for other in self._devices.values():
            if (other.kind, other.lower) != (device.kind, device.lower):
                continue
            if any(each.spec.peer == spec.peer for each in self._addresses[other.name]):
                raise Refused(f"ip addr add: {dotted(spec.peer)} is on the ipvlan {other.name} already")

    def remove_address(self, name: str, spec: AddressSpec) -> None:
        """Delete an address; secondaries of its subnet go with it, or move up (promote_secondaries).

        With the last one all routes of the device go too (fib_inetaddr_event).
        """
        self.device(name)
        held = self._addresses[name]
        found = [e for e in held if e.spec.local == spec.local and spec.prefix in (e.spec.prefix, 32)]
        if not found:
            raise Refused(f"ip addr del: {name} has no such address")
        gone = found[0]
        held.remove(gone)
        heirs = [each for each in held if each.secondary and same_subnet(each.spec, gone.spec)]
        if heirs and not gone.secondary:
            self._inherit(name, heirs)
        self._forget_sources({gone.spec.local})
        if not held:
            self._drop_routes(name, all_kinds=True)

    def _inherit(self, name: str, heirs: list[Held]) -> None:
        """Secondaries whose primary went."""
        held = self._addresses[name]
        promote = self.conf.read("all", "promote_secondaries") or self.conf.read(name, "promote_secondaries")
        for each in heirs:
            held.remove(each)
        if promote:
            for each in heirs:
                self.add_address(name, each.spec)

    def flush_addresses(self, name: str, *, scope: int = -1) -> None:
        """Delete all addresses of a device, or those of a scope."""
        self.device(name)
        held = self._addresses[name]
        self._addresses[name] = [each for each in held if scope not in (-1, each.spec.scope)]
        if held and not self._addresses[name]:
            self._drop_routes(name, all_kinds=True)

    def _forget_sources(self, gone: set[int]) -> None:
        """Routes whose preferred source was an address that nobody holds any more (fib_sync_down_addr)."""
        kept = {each.spec.local for held in self._addresses.values() for each in held}
        lost = gone - kept
        self._routes = [route for route in self._routes if self._sources.get(route, 0) not in lost]

    def _drop_routes(self, name: str, *, all_kinds: bool = False) -> None:
        """Routes that lead nowhere but over a device that goes down; local ones stay unless `all_kinds`."""
        self._routes = [
            route
            for route in self._routes
            if (route.kind == LOCAL and not all_kinds) or {hop.device for hop in route.hops} != {name}
        ]

    def add_route(self, spec: RouteSpec, *, verb: str = "add") -> None:
        """`ip route VERB`; a hop without a device gets that of the route to its gateway."""
        route = self._in_vrf(spec.route, spec.vrf)
        hops = tuple(self._resolved(hop, route, onlink=spec.onlink) for hop in route.hops)
        route = msgspec.structs.replace(route, hops=hops)
        made = [each for each in self.build().routes if each not in self._routes and same_key(each, route)]
        alike = [each for each in self._routes if same_key(each, route)]
        if verb == "add" and (made or alike):
            raise Refused("ip route add: there is such a route already")
        if verb == "change" and not (made or alike):
            raise Refused("ip route change: there is no such route")
        if verb in ("change", "replace") and made:
            self._unmade.add(made[0])
        at = len(self._routes) if verb in ("add", "append") else 0
        if verb in ("change", "replace") and alike and not made:
            at = self._routes.index(alike[0])
            del self._routes[at]
        self._routes.insert(at, route)
        self._had_local_routes |= route.kind == LOCAL
        if spec.source:
            self._sources[route] = spec.source

    def _in_vrf(self, route: Route, vrf: str) -> Route:
        return msgspec.structs.replace(route, table=self.device(vrf).table) if vrf else route

    def _resolved(self, hop: Hop, route: Route, *, onlink: bool) -> Hop:
        """A hop with its device (fib_check_nh): that is up, and the gateway a neighbour on it.

        The device is that of the route to the gateway: for a VRF the one of its devices that leads there.
        """
        if hop.device and not self.device(hop.device).up and route.kind != LOCAL:
            raise Refused(f"ip route: {hop.device} is down")
        if not hop.gateway:
            return hop
        host = self.build()
        if onlink and hop.device:
            if address_type(host, hop.gateway, hop.device) != UNICAST:
                raise Refused(f"ip route: {dotted(hop.gateway)} is no gateway")
            return hop
        flow = Flow(hop.gateway, 0, oif=hop.device)
        own_table = route.table not in (TABLE_MAIN, TABLE_LOCAL)
        found = lookup_table(host, route.table, flow) if own_table else Failed()
        if not isinstance(found, Found):
            found = lookup(host, flow)
        if not isinstance(found, Found) or found.route.kind not in (UNICAST, LOCAL):
            raise Refused("ip route: the gateway is not reachable")
        if any(each.gateway for each in found.route.hops):
            raise Refused("ip route: the gateway is no neighbour")
        return Hop(found.device, hop.gateway)

    def remove_route(self, route: Route, *, vrf: str = "") -> None:
        """Delete the first route that fits (`same_route`), be it one that the kernel made."""
        route = self._in_vrf(route, vrf)
        made = next((each for each in self.build().routes if same_route(each, route)), None)
        if made is None:
            raise Refused("ip route del: there is no such route")
        if made in self._routes:
            self._routes.remove(made)
        else:
            self._unmade.add(made)

    def flush_routes(self, table: int, device: str) -> None:
        """Delete the routes of a table (0: of all), or those of them that leave by a device."""
        for route in self.build().routes:
            meant = route.table == table if table else route.table != TABLE_LOCAL
            if meant and (not device or device in {hop.device for hop in route.hops}):
                self.remove_route(route)

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
        raise Refused("ip rule del: there is no such rule")

    def flush_rules(self) -> None:
        """`ip rule flush` spares the rule of priority 0."""
        self.rules = [each for each in self.rules if each.priority == 0]
        self.unmerged = True

    def prefer_slave(self, bond: str, slave: str) -> None:
        """The slave of an active-backup bond that is to be active."""
        self.device(slave)
        self._preferred[self.device(bond).name] = slave

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
        devices = _settled(self._devices, self._preferred)
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
                local, *others = routes_of(device, each, table)
                source = next(one for one in held if same_subnet(one.spec, each.spec)).spec.local
                routes.append((each.born, source, local))
                routes += [(max(each.born, raised), source, other) for other in others]
        return Host(
            devices=tuple(devices.values()),
            addresses=tuple(addresses),
            routes=(*(each for each in by_age(routes) if each not in self._unmade), *self._routes),
            rules=tuple(self.rules),
            sysctls=self.conf.snapshot(),
            proxy_delay=dict(self.proxy_delay),
            proxy_neighbours=tuple(self.proxy_neighbours),
            unmerged=self.unmerged,
            had_local_routes=self._had_local_routes,
            nft=self.nft,
            tc=tuple(self.tc),
        )


def _settled(devices: Mapping[str, Device], preferred: Mapping[str, str]) -> dict[str, Device]:
    """Devices with what follows from each other: the MACs and the active slave of bonds, ipvlans' MAC."""
    settled = dict(devices)
    for bond in devices.values():
        if bond.kind != "bond":
            continue
        slaves = [each for each in devices.values() if each.master == bond.name]
        running = [each.name for each in slaves if each.up and each.carrier]
        if bond.mode in ("active-backup", "balance-alb"):
            chosen = preferred.get(bond.name, "")
            running = [chosen] if chosen in running else running[:1]
        for slave in slaves:
            active = slave.name in running
            settled[slave.name] = msgspec.structs.replace(slave, mac=bond.mac, active=active)
    for device in devices.values():
        lower = devices.get(device.lower)
        if device.kind == "ipvlan" and lower is not None:
            quiet = device.mode.startswith("l3")
            settled[device.name] = msgspec.structs.replace(
                device, mac=lower.mac, arp=device.arp and not quiet
            )
    return settled
