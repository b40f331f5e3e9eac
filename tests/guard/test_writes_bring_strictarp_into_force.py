"""Any host: after the guard's writes strictARP is in force by the model, or what prevents it is named."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp.facts import VIP_DEVICE, Address, Device, Hop, Host, ProxyNeighbour, Route
from strictarp.arp.switching import Scope, switched
from strictarp.arp.uplinks import uplinks_of
from strictarp.guard.keys import KEYS, Key, Seen, Write
from strictarp.guard.plan import by_numbers, guarded, writes
from strictarp.guard.verdicts import in_force, sampled
from strictarp.sysctl.effective import hides_vips

LEVELS = st.sampled_from((-1, 0, 1, 2, 3, 4, 8, 9))
VIP, OTHER, NODE, FAR = 0xC0000264, 0xCB007105, 0xC000020B, 0xC0000201
NAMES = ("eth0", "eth1")


def device(name: str, number: int, *, arp: bool = True) -> Device:
    return Device(name, bytes((2, 0, 0, 0, 0, number)), arp=arp)


def local(address: int, name: str) -> Route:
    return Route(255, "local", address, 32, (Hop(name),))


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    standin = device(VIP_DEVICE, 9, arp=False)
    nics = [device(name, 1 + number) for number, name in enumerate(NAMES)]
    devices = [standin, *nics] if draw(st.booleans()) else [*nics, standin]
    held = [Address(VIP_DEVICE, vip, vip, 32) for vip in (VIP, OTHER)]
    if draw(st.booleans()):
        held.append(Address("eth0", NODE, NODE, draw(st.sampled_from((24, 32, 8)))))
    if draw(st.booleans()):
        held.append(Address("eth1", 0xC6336403, 0xC6336403, 24, draw(st.sampled_from((0, 253, 254)))))
    routes = [local(each.local, each.device) for each in held]
    routes.append(Route(254, "unicast", 0, 0, (Hop("eth0", FAR),)))
    keys = (*KEYS, "proxy_arp", "arp_filter", "rp_filter", "forwarding", "route_localnet")
    small = st.integers(0, 2)
    sysctls = {
        name: {key: draw(LEVELS if key in KEYS else small) for key in keys}
        for name in ("all", *NAMES, VIP_DEVICE)
    }
    proxies = (ProxyNeighbour(VIP, "eth0"),) if draw(st.booleans()) else ()
    return Host(tuple(devices), tuple(held), tuple(routes), sysctls=sysctls, proxy_neighbours=proxies)


def seen_of(host: Host) -> Seen:
    interfaces = {0: "all", 1: "eth0", 2: "eth1"}
    values = {Key(i, name): host.own(name, each) for i, each in interfaces.items() for name in KEYS}
    return Seen(interfaces, values)


def written(host: Host, seen: Seen, done: tuple[Write, ...]) -> Host:
    sysctls = {name: dict(values) for name, values in host.sysctls.items()}
    for write in done:
        sysctls[seen.interfaces[write.key.index]][write.key.name] = write.value
    return msgspec.structs.replace(host, sysctls=sysctls)


@given(hosts(), st.sampled_from((Scope.ALL, Scope.UPLINKS)))
def test_the_model_says_in_force_or_names_what_stands_against_it(host: Host, scope: Scope) -> None:
    seen = seen_of(host)
    done = writes(scope, seen, NAMES)
    after = written(host, seen, done)
    for name in NAMES:
        verdict = in_force(after, name)
        if verdict:
            continue
        borrowed = not any(each.scope < 254 for each in host.on_device.get(name, ()))
        by_all = scope is Scope.UPLINKS and (
            not (hides_vips(host.own("arp_ignore", "all")) or host.own("arp_ignore", "all") < 1)
            or host.own("arp_announce", "all") > 2
        )
        known = [word for holds, word in ((borrowed, "borrows"), (by_all, "in conf.all")) if holds]
        assert any(word in verdict.reason for word in known), f"{name}: {verdict.reason}"
    assert writes(scope, seen_of(after), NAMES) == ()  # a second turn has nothing to do


@given(hosts())
def test_scope_all_is_in_force_by_numbers_whatever_was_there(host: Host) -> None:
    seen = seen_of(host)
    after = seen_of(written(host, seen, writes(Scope.ALL, seen, NAMES)))
    assert all(by_numbers(after, name) for name in NAMES)


@given(hosts())
def test_scope_vips_is_in_force_by_the_table_alone(host: Host) -> None:
    after = switched(host, Scope.VIPS, NAMES)
    assert after.sysctls == host.sysctls
    for name in NAMES:
        assert in_force(after, name), in_force(after, name).reason


@given(hosts())
def test_scope_vips_is_in_force_before_the_first_service_ip_is_there(host: Host) -> None:
    bare = msgspec.structs.replace(
        host, addresses=tuple(each for each in host.addresses if each.device != VIP_DEVICE)
    )
    after = switched(bare, Scope.VIPS, NAMES[:1])
    told = in_force(after, NAMES[0])
    assert (told.in_force, "yet" in told.reason) == (True, True)
    assert in_force(after, NAMES[1]) == in_force(bare, NAMES[1])  # not covered: the numbers count


@given(hosts(), st.sampled_from((Scope.ALL, Scope.UPLINKS)))
def test_stricter_values_are_left_alone(host: Host, scope: Scope) -> None:
    seen = seen_of(host)
    for write in writes(scope, seen, NAMES):
        assert write.before not in ((1, 2, 8) if write.key.name == "arp_ignore" else (2,))
        assert write.key in guarded(scope, seen, NAMES)


@pytest.mark.parametrize(
    ("scope", "all_value", "own", "wanted"),
    [
        (Scope.ALL, 0, 0, {"all": 1}),
        (Scope.ALL, 0, 3, {"all": 1, "eth0": 1}),
        (Scope.ALL, 1, 3, {"eth0": 1}),
        (Scope.ALL, 1, 8, {}),
        (Scope.ALL, 8, 3, {}),
        (Scope.ALL, 8, 9, {"eth0": 1}),
        (Scope.ALL, 3, 0, {"all": 1}),
        (Scope.UPLINKS, 0, 0, {"eth0": 1}),
        (Scope.UPLINKS, 1, 0, {"eth0": 1}),
        (Scope.UPLINKS, 0, 2, {}),
        (Scope.UPLINKS, 0, 7, {"eth0": 1}),
        (Scope.VIPS, 0, 0, {}),
    ],
)
def test_arp_ignore_by_example(scope: Scope, all_value: int, own: int, wanted: dict[str, int]) -> None:
    values = {Key(0, "arp_ignore"): all_value, Key(2, "arp_ignore"): own}
    values |= {Key(0, "arp_announce"): 2, Key(2, "arp_announce"): 2}
    seen = Seen({0: "all", 2: "eth0", 3: "cali1"}, values | {Key(3, "arp_ignore"): 3})
    done = {seen.interfaces[write.key.index]: write.value for write in writes(scope, seen, ("eth0",))}
    assert done == wanted


def test_an_all_that_defeats_the_uplinks_is_named() -> None:
    seen = Seen({0: "all", 2: "eth0"}, {Key(i, n): 3 for i in (0, 2) for n in KEYS})
    after = {**seen.values, **{w.key: w.value for w in writes(Scope.UPLINKS, seen, ("eth0",))}}
    verdict = by_numbers(Seen(seen.interfaces, after), "eth0")
    assert verdict.reason == "arp_ignore=3 in conf.all is effective: VIPs are answered"


def test_uplinks_have_a_default_route_or_a_subnet_with_a_service_ip() -> None:
    nics = [device(name, number) for number, name in enumerate(("lo", "eth0", "eth1", "eth2", "br0", "port"))]
    nics[5] = msgspec.structs.replace(nics[5], master="br0")
    nics[4] = msgspec.structs.replace(nics[4], kind="bridge")
    held = [
        Address("lo", 0x7F000001, 0x7F000001, 8),
        Address("eth1", 0xCB007103, 0xCB007103, 24),  # holds OTHER
        Address("eth2", 0x0A000003, 0x0A000003, 24),
        Address("port", 0xC0000203, 0xC0000203, 24),  # holds VIP, but it is a port
        Address(VIP_DEVICE, VIP, VIP, 32),
        Address(VIP_DEVICE, OTHER, OTHER, 24),
    ]
    routes = (Route(254, "unicast", 0, 0, (Hop("eth0", FAR), Hop("port"))),)
    host = Host((*nics, device(VIP_DEVICE, 9, arp=False)), tuple(held), routes)
    assert uplinks_of(host) == ("eth0", "eth1")
    assert uplinks_of(host, [0x0A000009]) == ("eth0", "eth1", "eth2")


def test_a_sample_has_both_ends() -> None:
    assert sampled(list(range(5000)), 16)[0] == 0
    assert sampled(list(range(5000)), 16)[-1] == 4999
    assert len(set(sampled(list(range(5000)), 16))) == 16
    assert sampled([1, 2]) == [1, 2]
