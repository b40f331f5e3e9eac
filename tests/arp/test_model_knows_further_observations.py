"""Observations on Linux 6.18 and 6.1 that are not among the recorded files, written as cases."""

import json
from typing import Any

import pytest

from strictarp.arp import cases

E0 = {"name": "e0", "mac": "02:00:00:00:00:10"}
E1 = {"name": "e1", "mac": "02:00:00:00:00:11"}
VIPS = {"name": "kube-ipvs0", "kind": "dummy", "up": False, "mac": "02:00:00:00:00:12"}
NODE = ["e0", "10.0.0.1/24"]
VIP = ["kube-ipvs0", "10.0.0.200/32"]
FORWARD = {"ipv4.ip_forward": 1, "conf.e0.proxy_arp": 1, "neigh.e0.proxy_delay": 0}
STRICT = {"conf.all.arp_ignore": 1, "conf.all.arp_announce": 2}
DROP = "arp operation request arp daddr ip 10.0.0.200 drop"

U32 = "match u32 0x0a0000c8 0xffffffff at 24"
BYTECODE = "'6,40 0 0 12,21 0 3 2054,32 0 0 38,21 0 1 167772360,6 0 0 2,6 0 0 0'"


def nft(body: str, hook: str = "input", family: str = "arp") -> str:
    head = f"type filter hook {hook} priority 0; policy accept;"
    return f"table {family} t {{\n chain c {{ {head}\n  {body}\n }}\n}}\n"


CASES: dict[str, tuple[list[dict[str, Any]], list[Any], dict[str, Any], dict[str, Any], list[list[str]]]] = {
    "unicast for another MAC": ([E0], [NODE], {"dst": "other"}, {}, []),
    "hardware type 6": ([E0], [NODE], {"hrd": 6}, {}, [["e0", "10.0.0.1"]]),
    "hardware length 8": ([E0], [NODE], {"hln": 8}, {}, []),
    "sender MAC broadcast": ([E0], [NODE], {"sha": "ff:ff:ff:ff:ff:ff"}, {}, [["e0", "10.0.0.1"]]),
    "a reply": ([E0], [NODE], {"op": 2}, {}, []),
    "multicast target": ([E0], [NODE], {"tip": "224.0.0.1"}, {}, []),
    "loopback target": ([E0], [NODE], {"tip": "127.0.0.1"}, {}, []),
    "the whole loopback net": (
        [E0],
        [NODE],
        {"tip": "127.9.9.9"},
        {"sysctl": {"conf.all.route_localnet": 1}},
        [["e0", "127.9.9.9"]],
    ),
    "limited broadcast": ([E0], [NODE], {"tip": "255.255.255.255"}, {}, []),
    "sender is the directed broadcast": ([E0], [NODE], {"sip": "10.0.0.255"}, {}, [["e0", "10.0.0.1"]]),
    "probe for the own address": ([E0], [NODE], {"sip": "0.0.0.0"}, {}, [["e0", "10.0.0.1"]]),
    "probe is not proxied": (
        [E0, E1],
        [NODE, ["e1", "10.1.0.1/24"]],
        {"sip": "0.0.0.0", "tip": "10.1.0.50"},
        {"sysctl": FORWARD},
        [],
    ),
    "announcement of the own address is not defended": ([E0], [NODE], {"sip": "10.0.0.1"}, {}, []),
    "who has the node, told by a VIP that is here too": (
        [E0, VIPS],
        [NODE, VIP],
        {"sip": "10.0.0.200"},
        {},
        [],
    ),
    "a rule hides a VIP, but not from probes": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200", "sip": "0.0.0.0"},
        {
            "cmds": [
                "ip rule add pref 100 lookup local",
                "ip rule add pref 50 to 10.0.0.200 iif e0 prohibit",
                "ip rule del pref 0",
            ]
        },
        [["e0", "10.0.0.200"]],
    ),
    "arp_ignore on kube-ipvs0 does nothing": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {"sysctl": {"conf.kube-ipvs0.arp_ignore": 8}},
        [["e0", "10.0.0.200"]],
    ),
    "the NIC's 0 does not relax all=1": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {"sysctl": {"conf.all.arp_ignore": 1, "conf.e0.arp_ignore": 0}},
        [],
    ),
    "arp_ignore 3 hides scope host": (
        [E0, VIPS],
        [NODE, [*VIP, {"scope": "host"}]],
        {"tip": "10.0.0.200"},
        {"sysctl": {"conf.all.arp_ignore": 3}},
        [],
    ),
    "arp_ignore 3 does not hide scope link": (
        [E0, VIPS],
        [NODE, [*VIP, {"scope": "link"}]],
        {"tip": "10.0.0.200"},
        {"sysctl": {"conf.all.arp_ignore": 3}},
        [["e0", "10.0.0.200"]],
    ),
    "own address of scope host at 1": (
        [E0],
        [[*NODE, {"scope": "host"}]],
        {},
        {"sysctl": {"conf.all.arp_ignore": 1}},
        [["e0", "10.0.0.1"]],
    ),
    "peer address at 1": (
        [E0],
        [["e0", "10.0.0.1", {"peer": "10.0.0.100/32"}]],
        {},
        {"sysctl": {"conf.all.arp_ignore": 1}},
        [],
    ),
    "a /32 at 2": ([E0], [["e0", "10.0.0.1/32"]], {}, {"sysctl": {"conf.all.arp_ignore": 2}}, []),
    "AnyIP": (
        [E0],
        [NODE],
        {"tip": "10.5.0.77"},
        {"routes": ["local 10.5.0.0/24 dev lo"]},
        [["e0", "10.5.0.77"]],
    ),
    "a prefix on lo": (
        [E0],
        [NODE, ["lo", "10.6.0.1/24"]],
        {"tip": "10.6.0.77"},
        {},
        [["e0", "10.6.0.77"]],
    ),
    "address of a NIC that went down": (
        [E0, E1],
        [NODE, ["e1", "10.1.0.1/24"]],
        {"tip": "10.1.0.1"},
        {"cmds": ["ip link set e1 down"]},
        [["e0", "10.1.0.1"]],
    ),
    "arp_filter lets one NIC answer for both": (
        [E0, E1],
        [NODE, ["e1", "10.0.0.2/24"]],
        {"in": ["e0", "e1"], "tip": "10.0.0.2"},
        {"sysctl": {"conf.all.arp_filter": 1}},
        [["e0", "10.0.0.2"]],
    ),
    "arp_filter and arp_ignore 1 together": (
        [E0, E1],
        [NODE, ["e1", "10.0.0.2/24"]],
        {"in": ["e0", "e1"], "tip": "10.0.0.2"},
        {"sysctl": {"conf.all.arp_filter": 1, "conf.all.arp_ignore": 1}},
        [],
    ),
    "arp_filter with source rules": (
        [E0, E1],
        [NODE, ["e1", "10.0.0.2/24"]],
        {"in": ["e0", "e1"], "tip": "10.0.0.2"},
        {
            "sysctl": {"conf.all.arp_filter": 1},
            "routes": ["10.0.0.0/24 dev e1 table 100"],
            "rules": ["from 10.0.0.2 table 100"],
        },
        [["e1", "10.0.0.2"]],
    ),
    "blackhole back to the sender, rp_filter": (
        [E0],
        [NODE],
        {"sip": "192.0.2.9"},
        {"routes": ["blackhole 192.0.2.0/24"], "sysctl": {"conf.all.rp_filter": 2}},
        [],
    ),
    "longest prefix over local and main": (
        [E0, E1],
        [NODE],
        {"tip": "10.5.0.77"},
        {"routes": ["local 10.5.0.0/24 dev lo", "10.5.0.77/32 dev e1"]},
        [],
    ),
    "medium_id -1 switches proxy_arp off": (
        [E0, E1],
        [NODE, ["e1", "10.1.0.1/24"]],
        {"tip": "10.1.0.50"},
        {"sysctl": {**FORWARD, "conf.e0.medium_id": -1}},
        [],
    ),
    "other medium_id": (
        [E0, E1],
        [NODE, ["e1", "10.1.0.1/24"]],
        {"tip": "10.1.0.50"},
        {"sysctl": {**FORWARD, "conf.e0.medium_id": 1, "conf.e1.medium_id": 2}},
        [["e0", "10.1.0.50"]],
    ),
    "proxy neighbour without a device": (
        [E0, E1],
        [NODE, ["e1", "10.1.0.1/24"]],
        {"tip": "10.1.0.50"},
        {"sysctl": {"ipv4.ip_forward": 1}, "cmds": ["ip neigh add proxy 10.1.0.50 dev e0"]},
        [["e0", "10.1.0.50"]],
    ),
    "address left on a bridge port, asked through it": (
        [{"name": "br0", "kind": "bridge", "mac": "02:00:00:00:00:20"}, {**E0, "master": "br0"}],
        [["br0", "10.0.0.1/24"], ["e0", "10.0.0.2/24"]],
        {"tip": "10.0.0.2"},
        {"nomodel": True, "settle": 0.2},
        [["br0", "10.0.0.2"]],
    ),
    "macvlan and its parent both answer": (
        [E0, {"name": "vrrp51", "kind": "macvlan", "link": "e0", "mac": "02:00:00:00:00:20"}],
        [NODE, ["vrrp51", "10.0.0.200/32"]],
        {"tip": "10.0.0.200"},
        {"nomodel": True},
        [["e0", "10.0.0.200"], ["vrrp51", "10.0.0.200"]],
    ),
    "ipvlan and its parent answer with one MAC": (
        [E0, {"name": "ipvl0", "kind": "ipvlan", "link": "e0", "mode": "l2"}],
        [NODE, ["ipvl0", "10.0.0.200/32"]],
        {"tip": "10.0.0.200"},
        {"nomodel": True},
        [["e0", "10.0.0.200"], ["e0", "10.0.0.200"]],
    ),
    "VRF: the address of the VRF device at 1": (
        [
            {"name": "vrf1", "kind": "vrf", "table": 10, "mac": "02:00:00:00:00:20"},
            {**E0, "master": "vrf1"},
        ],
        [NODE, ["vrf1", "10.7.0.1/32"]],
        {"tip": "10.7.0.1"},
        {"sysctl": STRICT},
        [],
    ),
    "VRF: the slave's own address at 1": (
        [
            {"name": "vrf1", "kind": "vrf", "table": 10, "mac": "02:00:00:00:00:20"},
            {**E0, "master": "vrf1"},
        ],
        [NODE],
        {},
        {"sysctl": STRICT},
        [["e0", "10.0.0.1"]],
    ),
    "VRF: a gateway by the VRF leaves by the device that leads there": (
        [
            {"name": "vrf1", "kind": "vrf", "table": 10, "mac": "02:00:00:00:00:20"},
            {**E0, "master": "vrf1"},
        ],
        [["e0", "10.0.0.1/16"]],
        {"tip": "192.0.2.2"},
        {"sysctl": FORWARD, "routes": ["default via 10.0.0.100 dev vrf1"]},
        [],
    ),
    "VLAN: its own address, strict": (
        [E0, {"name": "e0.10", "kind": "vlan", "link": "e0", "id": 10, "mac": "02:00:00:00:00:20"}],
        [NODE, ["e0.10", "10.10.0.1/24"]],
        {"in": "e0.10", "sip": "10.10.0.9", "tip": "10.10.0.1"},
        {"sysctl": STRICT},
        [["e0.10", "10.10.0.1"]],
    ),
    "a VLAN on a NIC without ARP has none either": (
        [
            {**E0, "noarp": True},
            {"name": "e0.10", "kind": "vlan", "link": "e0", "id": 10, "mac": "02:00:00:00:00:20"},
        ],
        [["e0.10", "10.10.0.1/24"]],
        {"in": "e0.10", "sip": "10.10.0.9", "tip": "10.10.0.1"},
        {},
        [],
    ),
    "unicast for a point-to-point address of an ipvlan reaches the parent": (
        [E0, E1, {"name": "ipvl0", "kind": "ipvlan", "link": "e0", "mode": "l2"}],
        [NODE, ["ipvl0", "10.0.0.50", {"peer": "10.9.0.1/31"}]],
        {"tip": "10.0.0.50", "dst": "node"},
        {"sysctl": {"conf.ipvl0.arp_ignore": 8}},
        [["e0", "10.0.0.50"]],
    ),
    "unicast for another MAC is not an ipvlan's, though it has the address": (
        [E0, {"name": "ipvl0", "kind": "ipvlan", "link": "e0", "mode": "l2"}],
        [NODE, ["ipvl0", "10.0.0.50/24"]],
        {"tip": "10.0.0.50", "dst": "other"},
        {},
        [],
    ),
    "a VLAN follows its parent up": (
        [
            {**E0, "up": False},
            {
                "name": "e0.10",
                "kind": "vlan",
                "link": "e0",
                "id": 10,
                "up": False,
                "mac": "02:00:00:00:00:20",
            },
        ],
        [["e0.10", "10.10.0.1/24"]],
        {"in": "e0.10", "sip": "10.10.0.9", "tip": "10.10.0.1"},
        {"cmds": ["ip link set e0 up"]},
        [["e0.10", "10.10.0.1"]],
    ),
    "nft input drops": ([E0, VIPS], [NODE, VIP], {"tip": "10.0.0.200"}, {"nft": nft(DROP)}, []),
    "nft input drops probes too": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200", "sip": "0.0.0.0"},
        {"nft": nft(DROP)},
        [],
    ),
    "nft iifname of the holder never matches": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {"nft": nft(f'iifname "kube-ipvs0" {DROP}')},
        [["e0", "10.0.0.200"]],
    ),
    "nft verdict map": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {"nft": nft("arp daddr ip vmap { 10.0.0.200 : drop, 10.0.0.9 : accept }")},
        [],
    ),
    "nft output drops the reply": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {"nft": nft("arp operation reply arp saddr ip 10.0.0.200 drop", "output")},
        [],
    ),
    "nft netdev ingress": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {"nft": nft("arp daddr ip 10.0.0.200 drop", 'ingress device "e0"', "netdev")},
        [],
    ),
    "nft bridge input at the port": (
        [
            {"name": "br0", "kind": "bridge", "mac": "02:00:00:00:00:20"},
            {**E0, "master": "br0"},
            VIPS,
        ],
        [["br0", "10.0.0.1/24"], VIP],
        {"tip": "10.0.0.200"},
        {"nft": nft('iifname "e0" arp daddr ip 10.0.0.200 drop', "input", "bridge")},
        [],
    ),
    "nft arp sees the bridge, not its port": (
        [
            {"name": "br0", "kind": "bridge", "mac": "02:00:00:00:00:20"},
            {**E0, "master": "br0"},
            VIPS,
        ],
        [["br0", "10.0.0.1/24"], VIP],
        {"tip": "10.0.0.200"},
        {"nft": nft(f'iifname "e0" {DROP}')},
        [["br0", "10.0.0.200"]],
    ),
    "tc flower at ingress": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {
            "cmds": [
                "tc qdisc add dev e0 clsact",
                "tc filter add dev e0 ingress protocol arp flower arp_tip 10.0.0.200/32 action drop",
            ]
        },
        [],
    ),
    "tc flower for others": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {
            "cmds": [
                "tc qdisc add dev e0 clsact",
                "tc filter add dev e0 ingress protocol arp flower arp_tip 10.0.0.0/25 action drop",
            ]
        },
        [["e0", "10.0.0.200"]],
    ),
    "tc u32": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {
            "cmds": [
                "tc qdisc add dev e0 clsact",
                f"tc filter add dev e0 parent ffff: protocol arp u32 {U32} action drop",
            ]
        },
        [],
    ),
    "tc with classic BPF, direct action": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {"cmds": ["tc qdisc add dev e0 clsact", f"tc filter add dev e0 ingress bpf da bytecode {BYTECODE}"]},
        [],
    ),
    "tc at egress": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {"cmds": ["tc qdisc add dev e0 clsact", "tc filter add dev e0 egress matchall action drop"]},
        [],
    ),
    "nft netdev egress drops the reply": (
        [E0],
        [NODE],
        {},
        {"nft": nft("arp operation reply drop", 'egress device "e0"', "netdev")},
        [],
    ),
    "the VIP's local route is deleted": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {"cmds": ["ip route del local 10.0.0.200 dev kube-ipvs0 table local"]},
        [],
    ),
    "rules that nft adds one by one": (
        [E0, VIPS],
        [NODE, VIP],
        {"tip": "10.0.0.200"},
        {
            "cmds": [
                "nft add table arp t",
                "nft 'add chain arp t c { type filter hook input priority filter ; }'",
                f"nft add rule arp t c iifname e0 {DROP}",
            ]
        },
        [],
    ),
    "arptables mangles the reply": (
        [E0],
        [NODE],
        {},
        {"cmds": ["arptables -A OUTPUT --opcode 2 -s 10.0.0.1 -j mangle --mangle-ip-s 10.0.0.9"]},
        [["e0", "10.0.0.9"]],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_model_knows_it(name: str) -> None:
    devs, addrs, pkt, more, expected = CASES[name]
    packet = {"in": "e0", "sip": "10.0.0.100", "tip": "10.0.0.1"} | pkt
    case = {"devs": devs, "addrs": addrs, "pkt": packet} | more
    result = cases.judge(json.dumps({"id": name, "case": case}))
    assert result.unsupported == ""
    assert [list(pair) for pair in result.answered or []] == expected


@pytest.mark.parametrize(
    ("dev", "reason"),
    [
        ({"name": "e0", "master": "br9"}, "'br9'"),
        ({"name": "e0.5", "kind": "vlan", "id": 5, "link": "e9"}, "'e9'"),
        ({"name": "e5", "master": "team0"}, "'team'"),
    ],
)
def test_a_device_in_or_on_what_is_not_known_is_unsupported(dev: dict[str, Any], reason: str) -> None:
    team = {"name": "team0", "kind": "team", "mac": "02:00:00:00:00:13"}
    pkt = {"in": dev["name"], "sip": "10.0.0.100", "tip": "10.0.0.1"}
    devs = [team, dev, E1] if dev["name"] == "e0" else [team, E0, dev]
    case = {"devs": devs, "addrs": [NODE], "pkt": pkt}
    assert reason in cases.judge(json.dumps({"id": "X", "case": case})).unsupported


def test_what_is_of_ipv6_decides_nothing_about_arp() -> None:
    case = {
        "devs": [E0],
        "addrs": [NODE, ["e0", "2001:db8::1/64", "nodad"]],
        "routes": ["2001:db8:2::/64 via 2001:db8::2", "local 2001:db8:3::/64 dev lo"],
        "cmds": ["ip -6 rule add to 2001:db8:4::/64 table 100", "ip rule add from 2001:db8:5::/64 table 100"],
        "pkt": {"in": "e0", "sip": "10.0.0.100", "tip": "10.0.0.1"},
    }
    assert cases.judge(json.dumps({"id": "X", "case": case})).answered == [("e0", "10.0.0.1")]
