"""Rules of nftables as text that `nft -f` and `nft_parse` read. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from strictarp.arp.facts import dotted
from strictarp.arp.nft import (
    GOTO,
    JUMP,
    WORDS,
    Always,
    Chain,
    Concat,
    Lookup,
    Mangle,
    Match,
    Ruleset,
    Step,
    Table,
    Value,
    Verdict,
)

_META = ("protocol", "mark", "pkttype")
_NEVER = "limit rate over 1/hour burst 100 packets"
"""A limit that a first packet does not exceed: what its rate really is decides nothing here."""


def text_of(rules: Ruleset) -> str:
    """A script; the model takes it for the same rules."""
    return "".join(f"{line}\n" for table in rules.tables for line in _table(table))


def _table(table: Table) -> Iterator[str]:
    yield f"table {table.family} {table.name} {{"
    for chain in _jumped_to_first(table):
        yield f"  chain {chain.name} {{"
        yield from (f"    {line}" for line in _chain(chain))
        yield "  }"
    yield "}"


def _jumped_to_first(table: Table) -> list[Chain]:
    return sorted(table.chains, key=lambda chain: bool(chain.hook))


def _chain(chain: Chain) -> Iterator[str]:
    if chain.hook:
        devices = f" devices = {{ {', '.join(map(_quoted, chain.devices))} }}" if chain.devices else ""
        head = f"type filter hook {chain.hook}{devices} priority {chain.priority};"
        yield f"{head} policy {chain.policy};"
    for rule in chain.rules:
        words = " ".join(word for word in map(_step, rule) if word)
        yield words or "counter"


def _quoted(word: str) -> str:
    return f'"{word}"'


def _step(step: Step) -> str:
    if isinstance(step, Verdict):
        return _verdict(step)
    if isinstance(step, Always):
        return "" if step.met else _NEVER
    if isinstance(step, Mangle):
        return f"{step.field} set {_number(step.field, step.value)}"
    if isinstance(step, Lookup):
        listed = [f"{_values(step.fields, values)} : {_verdict(verdict)}" for values, verdict in step.entries]
        if step.otherwise.action != "continue":
            listed.append(f"* : {_verdict(step.otherwise)}")
        return f"{' . '.join(map(_field, step.fields))} vmap {{ {', '.join(listed)} }}"
    if isinstance(step, Concat):
        listed = [_values(step.fields, values) for values in step.entries]
        negation = "!= " if step.negated else ""
        return f"{' . '.join(map(_field, step.fields))} {negation}{{ {', '.join(listed)} }}"
    return _match(step)


def _match(step: Match) -> str:
    values: list[Value] = [*step.words, *step.ranges]
    shown = [_value(step.field, value) for value in values]
    operator = "!= " if step.negated else ""
    mask = ""
    if step.mask:
        mask, operator = f" & {_number(step.field, step.mask)}", operator or "== "
    right = shown[0] if len(shown) == 1 else f"{{ {', '.join(shown)} }}"
    return f"{_field(step.field)}{mask} {operator}{right}"


def _field(field: str) -> str:
    return f"meta {field}" if field in _META else field


def _verdict(verdict: Verdict) -> str:
    return f"{verdict.action} {verdict.chain}" if verdict.action in (JUMP, GOTO) else verdict.action


def _values(fields: tuple[str, ...], values: tuple[Value, ...]) -> str:
    return " . ".join(_value(field, value) for field, value in zip(fields, values, strict=True))


def _value(field: str, value: Value) -> str:
    if isinstance(value, str):
        return value if field == "pkttype" else _quoted(value)
    low, high = value
    return _number(field, low) if low == high else f"{_number(field, low)}-{_number(field, high)}"


def _number(field: str, value: int) -> str:
    if field in ("arp saddr ip", "arp daddr ip") and value <= 0xFFFFFFFF:
        return dotted(value)
    if field.endswith(("ether", "ether saddr", "ether daddr")) and value < 1 << 48:
        return value.to_bytes(6, "big").hex(":")
    return f"{value:#x}" if field in WORDS or field.startswith("@") else str(value)
