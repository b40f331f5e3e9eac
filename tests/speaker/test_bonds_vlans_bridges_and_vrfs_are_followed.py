"""Links that only a stock kernel has are spoken on, each with the MAC that it has now."""

from __future__ import annotations

from pathlib import Path

import pytest

from strictarp.lab import namespaces
from support.stacked_node import (
    BOND,
    BRIDGE,
    BRIDGE_VLAN,
    PORTS,
    VLAN,
    VRF,
    six_again,
    stacked_node,
)

pytestmark = [pytest.mark.vm, pytest.mark.timeout(180)]


async def test_each_link_answers_with_its_own_mac_and_ports_and_vrf_devices_say_nothing(
    tmp_path: Path,
) -> None:
    bond, bridge, member = PORTS["a0"], PORTS["a2"], PORTS["a3"]
    links = {"bond0": bond, "bond0.7": bond, "lan": bridge, "lan.9": bridge, "tenant": member}
    on_the_vrf = ("addr add 10.0.5.13/24 dev red", "route add default via 10.0.5.1 dev tenant table 10")
    async with stacked_node(
        tmp_path, *BOND, *VLAN, *BRIDGE, *BRIDGE_VLAN, *VRF, *on_the_vrf, macs=links
    ) as node:
        await node.settled(links)
        assert node.spoken_on() == set(links)
        assert await node.gateways() == {"tenant": "10.0.5.1"}

        # The lowest MAC of its ports is the bridge's.
        namespaces.ip(node.client, "link set b1 nomaster")
        await node.ip("link set a1 nomaster", "link set a1 up", "link set a1 master lan")
        await node.settled(links | dict.fromkeys(("lan", "lan.9"), PORTS["a1"]))
        await node.ip("link set a1 nomaster")
        await node.settled(links)

        # A member leaves its VRF, and gets another name in another VRF.
        await node.ip("link set tenant nomaster", *six_again("tenant"))
        await node.settled(links)
        await node.ip(
            *("link add blue type vrf table 20", "link set blue up", "link set tenant master blue"),
            *("link set tenant down", "link set tenant name t1", "link set t1 up"),
            *(line.replace("tenant", "t1") for line in six_again("tenant")),
        )
        await node.settled(links)
        assert node.spoken_on() == links.keys() - {"tenant"} | {"t1"}


async def test_a_bond_and_its_vlan_are_followed_from_mac_to_mac_and_from_life_to_life(tmp_path: Path) -> None:
    first, second, other = (
        dict.fromkeys(("bond0", "bond0.7"), mac) for mac in (PORTS["a0"], PORTS["a1"], "02:00:00:00:0b:00")
    )
    async with stacked_node(tmp_path, *BOND, *VLAN, macs=first) as node:
        await node.settled(first)

        # Its active port loses the carrier: with fail_over_mac the MAC is that of the other port.
        namespaces.set_links(node.client, "b0", up=False)
        await node.settled(second)

        # All ports leave; the MAC of the first one that joins becomes the bond's, and then it is set by hand.
        namespaces.set_links(node.client, "b0", up=True)
        await node.ip("link set a0 nomaster", "link set a1 nomaster", "link set a0 down")
        await node.ip("link set bond0 type bond fail_over_mac none", "link set a0 master bond0")
        await node.settled(first)
        await node.ip("link set bond0 address 02:00:00:00:0b:00")
        await node.settled(other)

        await node.ip("link set bond0 down")
        await node.settled({})
        await node.ip("link set bond0 up", *six_again("bond0"), *six_again("bond0.7"))
        await node.settled(other)

        await node.ip("link del bond0", *BOND, *VLAN)
        await node.settled(first)
