"""Policy rules, proxies and stacked links: pyroute2 as the oracle, broken bytes, and the running kernel."""

import asyncio
import contextlib
import random
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from strictarp.arp import collecting
from strictarp.lab import namespaces
from strictarp.netlink import policy, qdisc, traffic_control
from strictarp.netlink.link_conf import PLACES, parse_conf
from strictarp.netlink.messages import (
    MalformedMessage,
    Message,
    attribute,
    nested,
    parse_messages,
    text,
    u16,
    u32,
)
from strictarp.netlink.rtnl_encode import IFINFOMSG, RTMSG, encode_dump_links
from strictarp.netlink.rtnl_parse import parse_link
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink
from strictarp.netlink.stacking import Stacking, parse_stacking
from support.segment import needs_root


def _message(payload: bytes) -> Message:
    return Message(32, 0, 0, 0, memoryview(payload))


@settings(deadline=None)
@given(
    st.integers(1, 2**32 - 1),
    st.integers(1, 2**32 - 1),
    st.ip_addresses(v=4).map(str),
    st.integers(0, 32),
    st.booleans(),
)
def test_a_rule_is_read_as_pyroute2_writes_it(
    priority: int, table: int, source: str, prefix: int, inverted: bool
) -> None:
    made = fibmsg()
    made["family"], made["src_len"], made["action"] = 2, prefix, 1
    made["flags"] = 2 if inverted else 0
    made["attrs"] = [
        ("FRA_SRC", source),
        ("FRA_PRIORITY", priority),
        ("FRA_TABLE", table),
        ("FRA_IIFNAME", "eth0"),
    ]
    made["header"]["type"] = 32
    made.encode()
    (parsed,) = parse_messages(bytes(made.data)[: made["header"]["length"]])
    rule = policy.parse_rule(parsed)
    assert (rule.priority, rule.table, rule.iif, rule.inverted) == (priority, table, "eth0", inverted)
    assert (rule.source, rule.source_prefix) == (bytes(int(part) for part in source.split(".")), prefix)
    assert (rule.action, rule.suppress_prefix, rule.beyond) == (policy.ACTION_LOOKUP, -1, False)


@settings(deadline=None)
@given(st.integers(0, 4094))
def test_a_vlan_is_read_as_pyroute2_writes_it(vlan: int) -> None:
    made = ifinfmsg()
    data = ("IFLA_INFO_DATA", {"attrs": [("IFLA_VLAN_ID", vlan)]})
    info = ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "vlan"), data]})
    made["attrs"] = [("IFLA_IFNAME", "eth0.10"), ("IFLA_LINK", 2), info]
    made["header"]["type"] = 16
    made.encode()
    (parsed,) = parse_messages(bytes(made.data)[: made["header"]["length"]])
    assert parse_stacking(parsed) == Stacking(lower=2, vlan=vlan)


def _link(kind: str, data: bytes = b"", *more: bytes) -> Message:
    info = nested(18, text(1, kind), *([attribute(2, data)] if data else []), *more)
    return _message(IFINFOMSG.pack(0, 1, 2, 0, 0) + u32(5, 7) + info)


def test_modes_and_tables_are_read() -> None:
    assert parse_stacking(_link("vrf", u32(1, 10))).table == 10
    assert parse_stacking(_link("macvlan", u32(1, 4))).mode == "bridge"
    assert parse_stacking(_link("ipvlan", u16(1, 1))).mode == "l3"
    assert parse_stacking(_link("bond", attribute(1, b"\1"))).mode == "active-backup"
    assert parse_stacking(_link("dummy", u32(1, 10))) == Stacking(lower=7)


def test_the_peer_of_a_veth_is_no_lower_link() -> None:
    assert parse_stacking(_link("veth")).lower == 0


def test_a_parent_in_another_namespace_is_none_of_ours() -> None:
    payload = IFINFOMSG.pack(0, 1, 2, 0, 0) + u32(5, 7) + u32(37, 0) + nested(18, text(1, "macvlan"))
    assert parse_stacking(_message(payload)).lower == 0


def test_the_backup_slave_of_a_bond_is_told() -> None:
    slave = (text(4, "bond"), nested(5, attribute(1, b"\1")))
    assert parse_stacking(_link("veth", b"", *slave)).backup
    assert not parse_stacking(_link("veth", b"", text(4, "bridge"), nested(5, attribute(1, b"\1")))).backup


def test_what_arp_never_has_makes_a_rule_look_beyond() -> None:
    head = RTMSG.pack(2, 0, 0, 0, 254, 0, 0, 1, 0)
    assert policy.parse_rule(_message(head + u32(10, 7))).beyond
    assert not policy.parse_rule(_message(head + u32(10, 0))).beyond
    assert policy.parse_rule(_message(RTMSG.pack(2, 0, 0, 16, 254, 0, 0, 1, 0))).beyond


@settings(deadline=None)
@given(st.binary(max_size=90), st.booleans())
def test_any_bytes_give_a_value_or_the_parsers_own_error(raw: bytes, plausible: bool) -> None:
    rule = RTMSG.pack(2, 24, 0, 0, 254, 0, 0, 1, 0) if plausible else b""
    link = IFINFOMSG.pack(0, 1, 2, 0, 0) + nested(18, text(1, "bond"), raw) if plausible else raw
    for parse, payload in (
        (policy.parse_rule, rule + raw),
        (parse_stacking, link),
        (parse_conf, link),
        (traffic_control.parse_told, raw),
        (policy.parse_nft_table, raw),
        (qdisc.parse_qdisc, bytes(20) + raw),
    ):
        with contextlib.suppress(MalformedMessage):
            parse(_message(payload))


def test_dumps_are_asked_for_as_the_kernel_expects() -> None:
    (rules,) = parse_messages(policy.encode_dump_rules())
    (proxies,) = parse_messages(policy.encode_dump_proxies())
    (tables,) = parse_messages(policy.encode_dump_nft_tables(policy.FAMILY_ARP))
    assert (rules.type, rules.flags, rules.payload[0]) == (34, 0x301, 2)
    assert (proxies.type, proxies.payload[10]) == (30, 8)
    assert (tables.type, struct.unpack("=BBH", tables.payload)) == (0xA01, (3, 0, 0))


@needs_root
@pytest.mark.netns
def test_a_live_node_is_read_whole() -> None:
    space = namespaces.create("facts")
    namespaces.ip(
        space,
        "link add e0 type veth peer name p0",
        "link set e0 up",
        "link add m0 link e0 type macvlan mode private",
        "addr add 192.0.2.1 peer 192.0.2.2/32 dev e0 scope link",
        "route add local 198.51.100.0/24 dev lo",
        "neigh add proxy 192.0.2.9 dev e0",
    )
    with namespaces.entered(space):
        subprocess.run(["nft", "add table arp guard"], check=True)
        merged, (rules, unread) = asyncio.run(collecting.collect()), asyncio.run(collecting.nft_rules())
    namespaces.ip(space, "rule add not from 192.0.2.0/24 iif e0 pref 7 prohibit", "rule del pref 7")
    with namespaces.entered(space):
        after = asyncio.run(collecting.collect())
    space.close()
    assert [(table.family, table.name) for table in rules.tables] == [("arp", "guard")]
    assert unread == ()
    assert (merged.by_name["m0"].lower, merged.by_name["m0"].mode) == ("e0", "private")
    (held,) = merged.on_device["e0"]
    assert (held.local, held.peer, held.prefix, held.scope) == (0xC0000201, 0xC0000202, 32, 253)
    assert [entry.device for entry in merged.proxy_neighbours] == ["e0"]
    assert merged.has_custom_local_routes
    # The rule is gone again, but the tables stay apart.
    assert (merged.unmerged, after.unmerged, after.rules) == (False, True, merged.rules)


@needs_root
@pytest.mark.netns
def test_sysctls_of_a_link_are_those_in_proc() -> None:
    rng = random.Random(7)
    space = namespaces.create("conf")
    namespaces.ip(space, "link add e0 type bridge")
    with namespaces.entered(space):
        for key in PLACES:
            Path("/proc/sys/net/ipv4/conf/e0", key).write_text(str(rng.choice((0, 1, 2, 3, 8))))
        Path("/proc/sys/net/ipv4/conf/e0/arp_ignore").write_text("-5")
        seen = {key: int(Path("/proc/sys/net/ipv4/conf/e0", key).read_text()) for key in PLACES}
        told = asyncio.run(_conf_of("e0"))
    space.close()
    assert told == seen


async def _conf_of(name: str) -> dict[str, int]:
    async with Netlink(NETLINK_ROUTE) as route:
        for message in await route.dump(encode_dump_links()):
            if parse_link(message).name == name:
                return dict(parse_conf(message))
    raise AssertionError(name)
