"""Reading /proc/net/ip_vs: an independent look at what the proxies programmed. Pure."""

from __future__ import annotations

import ipaddress
import re

_SERVICE = re.compile(r"^(TCP|UDP|SCTP)\s+([0-9A-F]{8}):([0-9A-F]{4})\s")
_SERVER = re.compile(r"^\s+->\s+([0-9A-F]{8}):([0-9A-F]{4})\s+(\w+)\s+(\d+)\s")


def _address(text: str) -> str:
    return str(ipaddress.IPv4Address(int(text, 16)))


def real_servers(table: str, address: str, port: int, protocol: str = "TCP") -> dict[str, int]:
    """The real servers of one IPv4 virtual server, `address:port` -> weight; empty when there is none."""
    found: dict[str, int] = {}
    inside = False
    for line in table.splitlines():
        if service := _SERVICE.match(line):
            kind, vip, vport = service.groups()
            inside = (kind, _address(vip), int(vport, 16)) == (protocol, address, port)
        elif inside and (server := _SERVER.match(line)):
            found[f"{_address(server.group(1))}:{int(server.group(2), 16)}"] = int(server.group(4))
    return found


def serving(table: str, address: str, port: int) -> int:
    """How many real servers of one IPv4 virtual server get new connections."""
    return sum(weight > 0 for weight in real_servers(table, address, port).values())
