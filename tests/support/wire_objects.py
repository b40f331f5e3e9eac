"""Nodes, Services, FACTS and findings for tests of what was seen on the wire."""

from __future__ import annotations

from ipaddress import IPv4Address

from strictarp.arp.facts import LOCAL, TABLE_LOCAL, Address, Device, Hop, Host, Route
from strictarp.arp.frames import mac_text
from strictarp.arp.probing import Answerer, Findings, Form, judge
from strictarp.kube.model import Metadata
from strictarp.kube.objects import Node, NodeAddress, NodeStatus

VIP = "192.0.2.100"


def mac(number: int) -> str:
    return mac_text(b"\x00\x1b\x21\0\0" + bytes([number]))


def raw(number: int) -> bytes:
    return bytes.fromhex(mac(number).replace(":", ""))


def node(number: int) -> Node:
    """n1 has 192.0.2.11, and so on."""
    address = NodeAddress("InternalIP", f"192.0.2.{10 + number}")
    return Node(metadata=Metadata(name=f"n{number}"), status=NodeStatus(addresses=(address,)))


def found(
    ip: str, *macs: str, form: str = "probe", forms: tuple[Form, ...] = ("probe",), first_ms: float = 0.2
) -> Findings:
    answerers = tuple(Answerer(each, len(forms), first_ms, None, forms) for each in macs)
    return Findings(ip, "eth0", form, "0.0.0.0", judge(answerers), answerers, False, 1.2)


def answers_of_nodes(*numbers: int) -> list[Findings]:
    """Each node answers for its own address with its own MAC."""
    return [found(f"192.0.2.{10 + number}", mac(number)) for number in numbers]


def facts(number: int, *devices: Device, vip_on: str = "kube-ipvs0", strict: bool = False) -> Host:
    """A node with eth0, and a VIP on some device."""
    eth0 = Device("eth0", raw(number))
    dummy = Device("kube-ipvs0", raw(number + 100), kind="dummy", up=False, arp=False)
    own, vip = int(IPv4Address(f"192.0.2.{10 + number}")), int(IPv4Address(VIP))
    addresses = [Address("eth0", own, own, 24)]
    routes = [Route(TABLE_LOCAL, LOCAL, own, 32, (Hop("eth0"),))]
    if vip_on:
        addresses.append(Address(vip_on, vip, vip, 32))
        routes.append(Route(TABLE_LOCAL, LOCAL, vip, 32, (Hop(vip_on),)))
    sysctls = {"all": {"arp_ignore": 1, "arp_announce": 2}} if strict else {}
    return Host((eth0, dummy, *devices), tuple(addresses), tuple(routes), sysctls=sysctls)
