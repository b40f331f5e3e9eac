"""pyroute2 as the oracle for links, addresses, routes and neighbours, in both directions."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from strictarp.netlink import rtnl
from strictarp.netlink import rtnl_encode as encode
from strictarp.netlink.messages import Message, attribute, parse_messages, u32
from strictarp.netlink.rtnl_parse import (
    parse_address,
    parse_event,
    parse_link,
    parse_neighbour,
    parse_route,
)
from support.strategies_net import addresses, ipv4

DO, DUMP, CREATE = 0x5, 0x301, 0x605
indexes = st.integers(1, 2**31 - 1)
names = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=15)
macs = st.binary(min_size=6, max_size=6)


def _decoded(kind: type[nlmsg], raw: bytes, number: int, flags: int) -> nlmsg:
    message = kind(raw)
    message.decode()
    header = message["header"]
    assert (header["type"], header["flags"], header["length"]) == (number, flags, len(raw))
    return message


def _written(message: nlmsg, number: int) -> Message:
    message["header"]["type"] = number
    message.encode()
    # Encoding a message of pyroute2 a second time leaves zeros behind its end.
    (parsed,) = parse_messages(bytes(message.data)[: message["header"]["length"]])
    return parsed


def _family(address: bytes) -> int:
    return 2 if len(address) == 4 else 10


@given(indexes, addresses)
def test_adding_and_removing_an_address_names_it_fully(index: int, address: bytes) -> None:
    prefix = 8 * len(address)
    for raw, number, flags in (
        (encode.encode_new_address(index, address, prefix), 20, CREATE),
        (encode.encode_del_address(index, address, prefix), 21, DO),
    ):
        message = _decoded(ifaddrmsg, raw, number, flags)
        assert (message["family"], message["prefixlen"], message["scope"], message["index"]) == (
            _family(address),
            prefix,
            0,
            index,
        )
        assert ip_address(message.get_attr("IFA_LOCAL")) == ip_address(address)
        assert ip_address(message.get_attr("IFA_ADDRESS")) == ip_address(address)


@given(names, st.sampled_from(["dummy", "bridge"]))
def test_a_new_link_has_its_name_and_kind_and_no_arp(name: str, kind: str) -> None:
    message = _decoded(ifinfmsg, encode.encode_new_link(name, kind), 16, CREATE)
    assert message.get_attr("IFLA_IFNAME") == name
    assert message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == kind
    assert (message["flags"], message["change"]) == (rtnl.IFF_NOARP, rtnl.IFF_NOARP)


@given(indexes, st.booleans())
def test_setting_a_link_up_or_down_changes_that_flag_alone(index: int, up: bool) -> None:
    message = _decoded(ifinfmsg, encode.encode_set_link_up(index, up=up), 16, DO)
    assert (message["index"], message["flags"], message["change"]) == (index, int(up), 1)


@pytest.mark.parametrize("name", ["", "x" * 16, "a\0b"])
def test_an_impossible_device_name_is_refused_before_the_kernel_sees_it(name: str) -> None:
    with pytest.raises(ValueError, match="device name"):
        encode.encode_new_link(name, "dummy")


def test_an_address_of_odd_width_is_refused_before_the_kernel_sees_it() -> None:
    with pytest.raises(ValueError, match="5 bytes"):
        encode.encode_new_address(1, bytes(5), 32)


def test_dumps_ask_for_one_family_or_both() -> None:
    for width, family in ((0, 0), (4, 2), (16, 10)):
        assert _decoded(ifaddrmsg, encode.encode_dump_addresses(width), 22, DUMP)["family"] == family
        assert _decoded(rtmsg, encode.encode_dump_routes(width), 26, DUMP)["family"] == family
        assert _decoded(ndmsg, encode.encode_dump_neighbours(width), 30, DUMP)["family"] == family
    assert _decoded(ifinfmsg, encode.encode_dump_links(), 18, DUMP)["index"] == 0
    assert _decoded(ifinfmsg, encode.encode_get_link("eth0"), 18, DO).get_attr("IFLA_IFNAME") == "eth0"
    assert _decoded(ifinfmsg, encode.encode_del_link(7), 17, DO)["index"] == 7


@given(addresses)
def test_the_way_to_an_address_is_asked_with_full_length(address: bytes) -> None:
    message = _decoded(rtmsg, encode.encode_get_route(address), 26, DO)
    assert (message["family"], message["dst_len"]) == (_family(address), 8 * len(address))
    assert ip_address(message.get_attr("RTA_DST")) == ip_address(address)


def _colons(raw: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in raw)


@given(
    st.builds(
        rtnl.Link,
        index=indexes,
        name=names,
        flags=st.integers(0, 0x1FFFF),
        mac=macs,
        master=st.integers(1, 9999),
        kind=st.sampled_from(["dummy", "veth", "bridge"]),
        mtu=st.integers(68, 65536),
        carrier=st.booleans(),
    )
)
def test_a_link_is_read_as_pyroute2_writes_it(link: rtnl.Link) -> None:
    message = ifinfmsg()
    message["index"], message["flags"] = link.index, link.flags
    message["attrs"] = [
        ("IFLA_IFNAME", link.name),
        ("IFLA_ADDRESS", _colons(link.mac)),
        ("IFLA_MASTER", link.master),
        ("IFLA_MTU", link.mtu),
        ("IFLA_CARRIER", int(link.carrier)),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", link.kind)]}),
    ]
    written = _written(message, 16)
    assert parse_link(written) == link
    assert parse_event(written) == rtnl.LinkEvent(link)
    assert parse_event(_written(message, 17)) == rtnl.LinkEvent(link, gone=True)


@st.composite
def _addresses(draw: st.DrawFn) -> rtnl.Address:
    local = draw(addresses)
    same = st.binary(min_size=len(local), max_size=len(local)).filter(lambda other: other != local)
    return rtnl.Address(
        draw(indexes),
        local,
        draw(st.integers(0, 8 * len(local))),
        draw(st.sampled_from([0, 200, 253, 254])),
        draw(st.integers(0, 0xFFF)),
        draw(st.just(b"") | same),
    )


@given(_addresses())
def test_an_address_is_read_as_pyroute2_writes_it(address: rtnl.Address) -> None:
    message = ifaddrmsg()
    message["family"], message["prefixlen"] = _family(address.address), address.prefix
    message["scope"], message["index"] = address.scope, address.index
    message["attrs"] = [
        ("IFA_ADDRESS", str(ip_address(address.peer or address.address))),
        ("IFA_LOCAL", str(ip_address(address.address))),
        ("IFA_FLAGS", address.flags),
    ]
    assert parse_address(_written(message, 20)) == address
    assert parse_event(_written(message, 21)) == rtnl.AddressEvent(address, gone=True)


@st.composite
def _routes(draw: st.DrawFn) -> rtnl.Route:
    width = draw(st.sampled_from([4, 16]))
    packed = st.binary(min_size=width, max_size=width)
    default = draw(st.booleans())
    return rtnl.Route(
        width=width,
        destination=b"" if default else draw(packed),
        prefix=0 if default else draw(st.integers(1, 8 * width)),
        hops=(rtnl.Hop(draw(indexes), draw(st.just(b"") | packed)),),
        table=draw(st.sampled_from([254, 255, 1000])),
        kind=draw(st.sampled_from([1, 2, 6])),
        metric=draw(st.integers(1, 9999)),
        source=draw(st.just(b"") | packed),
    )


@given(_routes())
def test_a_route_is_read_as_pyroute2_writes_it(route: rtnl.Route) -> None:
    message = rtmsg()
    message["family"] = 2 if route.width == 4 else 10
    message["dst_len"], message["type"], message["table"] = route.prefix, route.kind, min(route.table, 252)
    attrs: list[tuple[str, object]] = [("RTA_TABLE", route.table), ("RTA_PRIORITY", route.metric)]
    attrs.append(("RTA_OIF", route.hops[0].index))
    for name, value in (
        ("RTA_DST", route.destination),
        ("RTA_GATEWAY", route.hops[0].gateway),
        ("RTA_PREFSRC", route.source),
    ):
        if value:
            attrs.append((name, str(ip_address(value))))
    message["attrs"] = attrs
    assert parse_route(_written(message, 24)) == route


def _hop(index: int, gateway: bytes) -> bytes:
    inner = attribute(5, gateway)
    return struct.pack("=HBBi", 8 + len(inner), 0, 0, index) + inner


def _route_message(attrs: bytes, family: int = 2) -> Message:
    return Message(24, 0, 1, 1, memoryview(encode.RTMSG.pack(family, 0, 0, 0, 254, 3, 0, 1, 0) + attrs))


@given(st.lists(st.tuples(indexes, ipv4), min_size=1, max_size=4))
def test_all_hops_of_a_multipath_route_are_read(hops: list[tuple[int, bytes]]) -> None:
    route = parse_route(_route_message(attribute(9, b"".join(_hop(*hop) for hop in hops))))
    assert route is not None
    assert route.hops == tuple(rtnl.Hop(*hop) for hop in hops)


def test_an_ipv4_route_through_an_ipv6_gateway_is_read() -> None:
    gateway = bytes.fromhex("fe80" + "00" * 13 + "01")
    route = parse_route(_route_message(attribute(18, struct.pack("=H", 10) + gateway) + u32(4, 7)))
    assert route is not None
    assert route.hops == (rtnl.Hop(7, gateway),)


@given(indexes, addresses, macs, st.sampled_from([2, 4, 0x80]))
def test_a_neighbour_is_read_as_pyroute2_writes_it(
    index: int, address: bytes, mac: bytes, state: int
) -> None:
    message = ndmsg()
    message["family"], message["ifindex"], message["state"] = _family(address), index, state
    message["attrs"] = [("NDA_DST", str(ip_address(address))), ("NDA_LLADDR", _colons(mac))]
    neighbour = rtnl.Neighbour(index, address, mac, state)
    assert parse_neighbour(_written(message, 28)) == neighbour
    assert parse_event(_written(message, 29)) == rtnl.NeighbourEvent(neighbour, gone=True)


def test_a_port_that_leaves_its_bridge_has_not_left_the_host() -> None:
    message = ifinfmsg()
    message["family"], message["index"] = 7, 3
    message["attrs"] = [("IFLA_IFNAME", "eth0")]
    assert parse_event(_written(message, 17)) is None
    message["family"] = 0
    assert isinstance(parse_event(_written(message, 17)), rtnl.LinkEvent)


@given(ipv4, st.integers(0, 32), ipv4)
def test_a_prefix_covers_what_ipaddress_says(network: bytes, prefix: int, address: bytes) -> None:
    from ipaddress import ip_network

    said = ip_address(address) in ip_network((network, prefix), strict=False)
    assert rtnl.covers(network, prefix, address) is said
