"""Hosts for tests, made of the commands that people would type."""

from collections.abc import Sequence

from strictarp.arp import commands
from strictarp.arp.building import Builder
from strictarp.arp.facts import Device, Host
from strictarp.arp.nft_parse import parse_nft


def mac_of(number: int) -> bytes:
    return bytes((2, 0, 0, 0, 0, number))


def host(*lines: str, devices: Sequence[Device] = (), nft: str = "") -> Host:
    """`devices` first, then `lines`: `addr add ...`, `route add ...`, or `all.arp_ignore=1`."""
    builder = Builder()
    for device in devices:
        builder.add_device(device)
    for line in lines:
        key, equals, value = line.partition("=")
        if equals and " " not in key:
            commands.sysctl(builder, f"conf.{key}", value)
        else:
            commands.run(builder, f"ip {line}")
    if nft:
        builder.load_nft(parse_nft(nft))
    return builder.build()


def nic(name: str = "eth0", number: int = 16, **fields: object) -> Device:
    return Device(name, mac_of(number), **fields)  # type: ignore[arg-type]


IPVS = Device("kube-ipvs0", mac_of(99), kind="dummy", up=False, arp=False)
VIP = "addr add 192.0.2.100/32 dev kube-ipvs0"
