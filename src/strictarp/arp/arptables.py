"""Lines of arptables (also its nft variant) as chains of nftables. Pure."""

from __future__ import annotations

import msgspec

from strictarp.arp.building import Builder
from strictarp.arp.nft import (
    ACCEPT,
    CONTINUE,
    DROP,
    RETURN,
    Chain,
    Mangle,
    Match,
    Ruleset,
    Step,
    Table,
    Verdict,
)
from strictarp.arp.nft_rules import parse_range
from strictarp.arp.unsupported import Unsupported

_HOOKS = {"INPUT": "input", "OUTPUT": "output", "FORWARD": "forward"}
"""What a bridge forwards is not answered here: that hook is never run."""
_TABLE = ("arp", "filter")
_NUMBERS = {
    "--opcode": "arp operation",
    "-s": "arp saddr ip",
    "--source-ip": "arp saddr ip",
    "-d": "arp daddr ip",
    "--destination-ip": "arp daddr ip",
    "--source-mac": "arp saddr ether",
    "--src-mac": "arp saddr ether",
    "--destination-mac": "arp daddr ether",
    "--dst-mac": "arp daddr ether",
}
_WORDS = {"-i": "iifname", "--in-interface": "iifname", "-o": "oifname", "--out-interface": "oifname"}
_MANGLES = {
    "--mangle-ip-s": "arp saddr ip",
    "--mangle-ip-d": "arp daddr ip",
    "--mangle-mac-s": "arp saddr ether",
    "--mangle-mac-d": "arp daddr ether",
}
_TARGETS = {"DROP": DROP, "ACCEPT": ACCEPT, "RETURN": RETURN, "CONTINUE": CONTINUE}
_OPCODES = {"Request": "request", "Reply": "reply"}


def append_arptables(builder: Builder, words: list[str]) -> None:
    """`-A CHAIN ...`, `-I CHAIN ...`, `-P CHAIN TARGET`. Raises Unsupported."""
    if words[:1] == ["-t"]:
        words = words[2:]
    if len(words) < 2 or words[1] not in _HOOKS or words[0] not in ("-A", "-I", "-P", "--append", "--insert"):
        raise Unsupported(f"arptables {' '.join(words[:2])}")
    chain = _chain(builder, words[1])
    if words[0] == "-P":
        chain = msgspec.structs.replace(chain, policy=_TARGETS.get(words[2], ACCEPT))
    else:
        rule = _rule(words[2:])
        rules = (*chain.rules, rule) if words[0] in ("-A", "--append") else (rule, *chain.rules)
        chain = msgspec.structs.replace(chain, rules=rules)
    others = _chains(builder)
    others[chain.name] = chain
    builder.load_nft(Ruleset((Table(*_TABLE, tuple(others.values())),)))


def _chains(builder: Builder) -> dict[str, Chain]:
    for table in builder.nft.tables:
        if (table.family, table.name) == _TABLE:
            return {chain.name: chain for chain in table.chains}
    return {}


def _chain(builder: Builder, name: str) -> Chain:
    return _chains(builder).get(name, Chain(name, hook=_HOOKS[name]))


def _rule(words: list[str]) -> tuple[Step, ...]:
    steps: list[Step] = []
    target = CONTINUE
    rest = iter(words)
    negated = False
    for word in rest:
        if word == "!":
            negated = True
            continue
        value = next(rest, "")
        if value == "!":
            negated, value = True, next(rest, "")
        if word in ("-j", "--jump"):
            target = "mangle" if value == "mangle" else _TARGETS.get(value, "")
        elif word in _NUMBERS:
            steps.append(Match(_NUMBERS[word], (parse_range(_OPCODES.get(value, value)),), negated=negated))
        elif word in _WORDS:
            steps.append(Match(_WORDS[word], words=(value.replace("+", "*"),), negated=negated))
        elif word in _MANGLES:
            steps.append(Mangle(_MANGLES[word], parse_range(value)[0]))
        elif word == "--mangle-target":
            target = _TARGETS.get(value, "")
        else:
            raise Unsupported(f"arptables: {word!r}")
        negated = False
    if not target:
        raise Unsupported("arptables: a target other than DROP, ACCEPT, RETURN and mangle")
    return (*steps, Verdict(ACCEPT if target == "mangle" else target))
