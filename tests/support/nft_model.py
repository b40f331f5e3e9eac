"""What our nftables text does to a packet, rule by rule; a word that it does not know fails the test."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

_SET = re.compile(r"^  set (\w+) \{.*?(?:elements = \{ (.*?) \}; )?\}$")
_PLACE = r"daddr \. meta l4proto \. th dport"
_VERDICTS = {"return", "accept", "drop", "reject"}


class Packet(NamedTuple):
    """The first of a connection, unless `state` says otherwise.

    `iif`: where it came in, empty for one of this node. `local`: its destination is an address of this node.
    """

    source: str
    to: str
    port: int
    protocol: str = "tcp"
    iif: str = "eth0"
    local: bool = True
    state: str = "new"
    mark: int = 0


class Rules:
    """One family's table out of the text of `nftables.whole_table`."""

    def __init__(self, text: str, family: str = "ip") -> None:
        self._sets: dict[str, set[str]] = {}
        self._chains: dict[str, list[str]] = {}
        inside = ""
        for line in text.split(f"\ntable {family} ", 1)[1].split("\n}", 1)[0].splitlines():
            if found := _SET.match(line):
                self._sets[found[1]] = {e.strip() for e in (found[2] or "").split(",") if e.strip()}
            elif line.startswith("  chain "):
                inside = line.split()[1]
                self._chains[inside] = []
            elif line.startswith("    "):
                self._chains[inside].append(line.strip())

    def filtered(self, packet: Packet) -> str:
        """What becomes of it before IPVS sees it."""
        return self._chain("input" if packet.iif else "output_filter", packet)[0] or "accept"

    def kept(self, packet: Packet) -> bool:
        """Whether NAT rules of others are spared it."""
        return self._nat(packet)[0] == "dnat"

    def masqueraded(self, packet: Packet, endpoint: str, port: int) -> bool:
        """Whether the endpoint sees this node as the source."""
        marked = self._nat(packet)[1]
        sent = packet._replace(to=endpoint, port=port, mark=marked.mark)
        return self._chain("postrouting", sent)[0] == "masquerade"

    def _nat(self, packet: Packet) -> tuple[str, Packet]:
        return self._chain("prerouting" if packet.iif else "output", packet)

    def _chain(self, name: str, packet: Packet) -> tuple[str, Packet]:
        """The verdict, empty where the end of the chain is reached or it returns; and the packet then."""
        for rule in self._chains[name]:
            rest = "" if rule.startswith("type ") else self._unmatched(rule, packet)
            if not rest:
                continue
            word, _, argument = rest.partition(" ")
            if word in ("jump", "goto"):
                verdict, packet = self._chain(argument, packet)
                if verdict or word == "goto":
                    return verdict, packet
            elif rest.startswith("meta mark set meta mark "):
                operator, bits = rest.split()[-2:]
                mark = packet.mark | int(bits, 16) if operator == "|" else packet.mark ^ int(bits, 16)
                packet = packet._replace(mark=mark)
            elif word == "return":
                return "", packet
            else:
                assert word in _VERDICTS | {"masquerade", "dnat"}, rule
                return word, packet
        return "", packet

    def _unmatched(self, rule: str, packet: Packet) -> str:
        """The statement of a rule whose matches hold, else nothing."""
        rest = rule
        while True:
            for pattern, holds in self._matches(packet):
                if found := re.match(f"{pattern}( |$)", rest):
                    if not holds(found):
                        return ""
                    rest = rest[found.end() :]
                    break
            else:
                return rest

    def _matches(self, packet: Packet) -> tuple[tuple[str, Callable[[re.Match[str]], bool]], ...]:
        place = f"{packet.to} . {packet.protocol} . {packet.port}"
        header = "ip6?"
        return (
            (rf"{header} {_PLACE} \. {header} saddr != @loadBalancerSource",
             lambda _: not self._from_range(place, packet.source)),
            (rf"{header} {_PLACE} \. {header} saddr @(\w+)",
             lambda m: f"{place} . {packet.source}" in self._sets[m[1]]),
            (rf"{header} {_PLACE} @(\w+)", lambda m: place in self._sets[m[1]]),
            (rf"{header} saddr \. meta l4proto \. th dport @(\w+)",
             lambda m: f"{packet.source} . {packet.protocol} . {packet.port}" in self._sets[m[1]]),
            (rf"{header} daddr != @(\w+)", lambda m: packet.to not in self._sets[m[1]]),
            (rf"{header} saddr != (\S+)", lambda m: not _inside(packet.source, m[1])),
            (rf"{header} saddr ([0-9a-f:./]+)", lambda m: _inside(packet.source, m[1])),
            (r'iifname != "(\w+)\*"', lambda m: not packet.iif.startswith(m[1])),
            (r'iifname != "(\w+)"', lambda m: packet.iif != m[1]),
            (r"fib daddr type local", lambda _: packet.local),
            (r"meta mark & (0x[0-9a-f]+) == 0", lambda m: not packet.mark & int(m[1], 16)),
            (r"ct state new", lambda _: packet.state == "new"),
        )  # fmt: skip

    def _from_range(self, place: str, source: str) -> bool:
        before = f"{place} . "
        ranges = [e.removeprefix(before) for e in self._sets["loadBalancerSource"] if e.startswith(before)]
        return any(_inside(source, text) for text in ranges)


def _inside(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)
