"""What `arptables-save` of the legacy arptables prints, as rules for the model. Pure."""

from __future__ import annotations

from strictarp.arp.arptables import append_arptables
from strictarp.arp.building import Builder
from strictarp.arp.nft import Ruleset


def arptables_rules(text: str) -> Ruleset:
    """The rules of `arptables-save`. Raises Unsupported."""
    builder = Builder()
    for line in text.splitlines():
        words = line.split()
        if line.startswith(":"):
            words = ["-P", words[0][1:], *words[1:2]]
        append_arptables(builder, _without_defaults(words))
    return builder.nft


def _without_defaults(words: list[str]) -> list[str]:
    """What the listing adds to every rule: any interface, Ethernet, IPv4."""
    defaults = {
        ("-i", "any"),
        ("-o", "any"),
        ("-i", "*"),
        ("-o", "*"),
        ("--h-length", "6"),
        ("--h-type", "1"),
        ("--proto-type", "0x800"),
    }
    kept: list[str] = []
    at = 0
    while at < len(words):
        if tuple(words[at : at + 2]) in defaults:
            at += 2
            continue
        kept.append(words[at])
        at += 1
    return kept
