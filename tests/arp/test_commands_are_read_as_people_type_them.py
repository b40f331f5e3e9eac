# ruff: noqa: E501 - the lines are the subject
"""Setups in the spellings of people: short words, odd order, shells, scripts; and what the kernel refuses."""

import pytest

from strictarp.arp import commands
from strictarp.arp.building import Builder
from strictarp.arp.facts import Device, Host, dotted
from strictarp.arp.unsupported import Refused, Unsupported
from support.command_hosts import mac_of

TABLE = "table arp t { chain i { type filter hook input priority 0; arp daddr ip 10.0.0.200 drop; } }"
CHAIN = "{ type filter hook input priority 0; policy accept; }"

ALIKE = {
    "an address": (
        "ip addr add 10.0.0.1/24 dev e0",
        "ip a a 10.0.0.1/24 dev e0",
        "ip  address   add   dev e0   10.0.0.1/24",
        "ip -4 addr add local 10.0.0.1/24 dev e0",
        "ip -n node addr add 10.0.0.1/24 dev e0",
        "ip netns exec node ip addr add 10.0.0.1/24 dev e0",
        "/sbin/ip ad replace 10.0.0.1/24 dev e0",
        "sudo ip addr add 10.0.0.1/255.255.255.0 dev e0",
        "ip -batch - <<EOF\naddr add 10.0.0.1/24 dev e0\nEOF",
        "true && ip a a 10.0.0.1/24 dev e0 2>/dev/null || true",
    ),
    "a link": (
        "ip link set e0 arp off",
        "ip l s e0 arp off",
        "ip li set dev e0 arp off",
        "ip link set arp off dev e0",
        "ip link set e0 arp on; ip link set e0 arp off",
    ),
    "a route": (
        "ip route add 10.9.0.0/16 dev e0 metric 7",
        "ip r a 10.9/16 dev e0 metric 7",
        "ip ro add dev e0 metric 7 10.9.0.0/16",
        "ip route add unicast to 10.9.0.0/16 dev e0 priority 7 table main",
        "ip route append 10.9.0.0/16 dev e0 preference 7 proto static",
    ),
    "the local prefix": (
        "ip route add local 10.5.0.0/24 dev lo",
        "ip route add table local local 10.5.0.0/24 dev lo",
        "ip r a local 10.5.0.0/24 dev lo table 255",
    ),
    "a default route": (
        "ip route add default dev e0",
        "ip route add 0/0 dev e0",
        "ip r r 0.0.0.0/0 dev e0",
    ),
    "a rule": (
        "ip rule add from 10.0.0.0/8 pref 50 table 100",
        "ip ru a priority 50 from 10/8 lookup 100",
        "ip rule add order 50 lookup 100 from 10.0.0.0/8",
    ),
    "a sysctl": (
        "sysctl -w net.ipv4.conf.e0.arp_ignore=1",
        "sysctl -qw net.ipv4.conf.e0.arp_ignore=1",
        "sysctl net/ipv4/conf/e0/arp_ignore=1",
        "sysctl -w 'net.ipv4.conf.e0.arp_ignore = 1'",
        "sysctl -q net.ipv4.conf.e0.arp_ignore=0 net.ipv4.conf.e0.arp_ignore=1",
        "echo 1 > /proc/sys/net/ipv4/conf/e0/arp_ignore",
        "echo -n 1 >/proc/sys/net/ipv4/conf/e0/arp_ignore",
        "printf '1\\n' > /proc/sys/net/ipv4/conf/e0/arp_ignore",
        "echo 1 | tee /proc/sys/net/ipv4/conf/e0/arp_ignore > /dev/null",
        "sh -c 'echo 1 > /proc/sys/net/ipv4/conf/e0/arp_ignore'",
        "sysctl -p - <<EOF\n# a comment\nnet.ipv4.conf.e0.arp_ignore = 1\nEOF",
    ),
    "a table of nftables": (
        f"nft -f - <<EOF\n{TABLE}\nEOF",
        f"nft '{TABLE}'",
        f"echo '{TABLE}' | nft -f -",
        f"nft -f - <<< '{TABLE}'",
        f"nft add table arp t && nft 'add chain arp t i {CHAIN}' && nft add rule arp t i arp daddr ip 10.0.0.200 drop",
        f"nft 'add table arp t; add chain arp t i {CHAIN}; insert rule arp t i arp daddr ip == 10.0.0.200 drop'",
        f"nft 'add table arp t; add chain arp t i {CHAIN}'; nft add rule arp t i @nh,192,32 0x0a0000c8 drop",
        "nft -f - <<EOF\ndefine vip = 10.0.0.200\n" + TABLE.replace("10.0.0.200", "$vip") + "\nEOF",
        f"nft -f - <<EOF\nflush ruleset\n{TABLE}\nEOF",
        f"nft '{TABLE}'; nft add rule arp t i drop; nft flush chain arp t i; "
        "nft add rule arp t i arp daddr ip 10.0.0.200 drop",
    ),
    "a set that grows and shrinks": (
        f"nft '{TABLE}'",
        "nft 'table arp t { set s { type ipv4_addr; }; chain i { type filter hook input priority 0; "
        "arp daddr ip @s drop; }; }'; nft add element arp t s '{ 10.0.0.200, 10.0.0.9 }'; "
        "nft delete element arp t s '{ 10.0.0.9 }'",
    ),
    "a proxy neighbour": (
        "ip neigh add proxy 10.0.0.9 dev e0",
        "ip n a proxy 10.0.0.9 dev e0",
        "ip neighbour add proxy 10.0.0.9 dev e0",
    ),
}  # fmt: skip


def builder() -> Builder:
    made = Builder()
    made.add_device(Device("e0", mac_of(16)))
    return made


def host_after(line: str) -> Host:
    made = builder()
    commands.run(made, line)
    return made.build()


@pytest.mark.parametrize("line", [line for lines in ALIKE.values() for line in lines])
def test_spellings_mean_the_same(line: str) -> None:
    first = next(lines[0] for lines in ALIKE.values() if line in lines)
    assert host_after(line) == host_after(first)
    assert host_after(line) != builder().build()


MADE = {
    "ip link add x0 type dummy": ("dummy", ""),
    "ip link add name x0 type bridge stp_state 0": ("bridge", ""),
    "ip link add link e0 name x0 type vlan id 10": ("vlan", "e0"),
    "ip link add x0 link e0 type macvlan mode private": ("macvlan", "e0"),
    "ip li a link e0 x0 type ipvlan mode l2": ("ipvlan", "e0"),
    "ip link add x0 type vrf table 10": ("vrf", ""),
    "ip link add x0 address 02:00:00:00:00:77 type bond mode active-backup miimon 100": ("bond", ""),
}


@pytest.mark.parametrize("line", MADE)
def test_a_device_that_is_added_begins_down(line: str) -> None:
    device = host_after(line).by_name["x0"]
    assert ((device.kind, device.lower), device.up) == (MADE[line], False)
    assert host_after(f"{line} && ip link set x0 up").by_name["x0"].up


def test_going_down_and_up_again_brings_back_what_the_kernel_made_and_nothing_else() -> None:
    line = "ip a a 10.0.0.1/24 dev e0; ip r a 10.9.0.0/16 dev e0; ip r d 10.0.0.0/24 dev e0"
    routes = {f"{dotted(each.destination)}/{each.prefix}" for each in host_after(line).routes}
    again = {
        f"{dotted(each.destination)}/{each.prefix}"
        for each in host_after(f"{line}; ip l s e0 down; ip l s e0 up").routes
    }
    assert ("10.9.0.0/16" in routes, "10.0.0.0/24" in routes) == (True, False)
    assert ("10.9.0.0/16" in again, "10.0.0.0/24" in again) == (False, True)


def test_with_its_last_address_a_device_loses_its_routes() -> None:
    line = "ip a a 10.0.0.1/24 dev e0; ip r a 10.9.0.0/16 dev e0; ip a d 10.0.0.1/24 dev e0"
    assert host_after(line).routes == builder().build().routes


REFUSED = (
    "ip addr add 127.0.0.1/8 dev lo",
    "ip addr del 10.0.0.9/24 dev e0",
    "ip link add e0 type dummy",
    "ip link set e0 down && ip route add 10.9.0.0/16 dev e0",
    "ip route add 10.9.0.0/16 via 10.1.2.3 dev e0",
    "ip route change 10.9.0.0/16 dev e0",
    "ip rule del pref 77",
)


@pytest.mark.parametrize("line", REFUSED)
def test_what_the_kernel_refuses_changes_nothing(line: str) -> None:
    made = builder()
    with pytest.raises(Refused):
        commands.run(made, line)
    commands.run_all(made, [f"{line} && ip link set e0 arp off"])
    assert made.build().by_name["e0"].arp


UNKNOWN = {
    "ip link set $DEV up": "$DEV",
    "for i in 1 2; do ip link set e0 up; done": "for",
    "ip link set e0 netns other": "netns",
    "ip link add x0 type geneve id 3": "geneve",
    "nft -f /etc/nftables.conf": "/etc/nftables.conf",
    "echo 1 > /etc/motd": "/etc/motd",
    "cat <<EOF | nft -f -": "EOF",
    "iptables -A INPUT -j DROP": "iptables",
    "bridge vlan add vid 5 dev e0": "vlan",
}


@pytest.mark.parametrize("line", UNKNOWN)
def test_what_is_not_known_is_named(line: str) -> None:
    with pytest.raises(Unsupported, match=UNKNOWN[line].replace("$", r"\$")):
        commands.run(builder(), line)
