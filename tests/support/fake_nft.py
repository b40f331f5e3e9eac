"""A model of nft and the kernel's sets: runs the scripts that the proxy writes, and lists in nft's JSON.

A script is one transaction: all of it or nothing. Refusals are the kernel's as seen with nft 1.0.6:
net/netfilter/nf_tables_api.c for what is not there, nft_set_pipapo.c for intervals that overlap. Rules are
opaque. tests/proxy/test_models_refuse_as_the_kernel_does.py asks it and the kernel the same questions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from ipaddress import ip_network

from strictarp.proxy.seam import KernelRefused, TableVanished

_TABLE = re.compile(r"(add|delete) table (\w+) ([\w-]+)$")
_CHANGE = re.compile(r"(add|delete) element (\w+) ([\w-]+) (\w+) \{ (.*) \}$")
_FLUSH = re.compile(r"flush chain (\w+) ([\w-]+) (\w+)$")
_OPENS = re.compile(r"table (\w+) ([\w-]+) \{$")
_SET = re.compile(r"set (\w+) \{ (.*?;)(?: elements = \{ (.*?) \};)? \}$")
_CHAIN = re.compile(r"chain (\w+) \{$")


class _Set:
    def __init__(self, definition: str) -> None:
        self.intervals = "flags interval" in definition
        self.elements: set[str] = set()

    def copy(self) -> _Set:
        made = _Set("flags interval" if self.intervals else "")
        made.elements = set(self.elements)
        return made

    def add(self, element: str) -> None:
        if self.intervals and any(_refuses(old, element) for old in self.elements):
            raise KernelRefused("nft refused the rules: Could not process rule: File exists")
        self.elements.add(element)

    def delete(self, element: str) -> None:
        if element not in self.elements:
            raise TableVanished("nft refused the rules: Could not process rule: No such file or directory")
        self.elements.remove(element)


class _Table:
    def __init__(self) -> None:
        self.sets: dict[str, _Set] = {}
        self.chains: dict[str, list[str]] = {}

    def copy(self) -> _Table:
        made = _Table()
        made.sets = {name: each.copy() for name, each in self.sets.items()}
        made.chains = {name: list(rules) for name, rules in self.chains.items()}
        return made


class FakeNft:
    """Tables by family and name. `runs`: scripts that were carried out."""

    def __init__(self) -> None:
        self.tables: dict[tuple[str, str], _Table] = {}
        self.runs = 0

    async def run(self, text: str) -> None:
        """Run a script. Raises KernelRefused, TableVanished."""
        draft = {name: table.copy() for name, table in self.tables.items()}
        _run((line.strip() for line in text.splitlines()), draft)
        self.tables = draft
        self.runs += 1

    async def list(self, family: str, table: str) -> bytes:
        """`nft -j list table`; empty when there is none."""
        found = self.tables.get((family, table))
        if found is None:
            return b""
        entries: list[dict[str, object]] = [{"table": {"family": family, "name": table, "handle": 1}}]
        for name, each in found.sets.items():
            listed: dict[str, object] = {"family": family, "name": name, "table": table}
            if each.elements:
                listed["elem"] = [_listed(element) for element in sorted(each.elements)]
            entries.append({"set": listed})
        for name, rules in found.chains.items():
            entries.append({"chain": {"family": family, "table": table, "name": name, "handle": self.runs}})
            entries += [
                {"rule": {"chain": name, "handle": self.runs + number, "expr": rule}}
                for number, rule in enumerate(rules)
            ]
        return json.dumps({"nftables": entries}).encode()


def _run(lines: Iterable[str], tables: dict[tuple[str, str], _Table]) -> None:
    table, chain = _Table(), None
    for line in filter(None, lines):
        if match := _TABLE.match(line):
            verb, family, name = match.groups()
            if verb == "add":
                tables.setdefault((family, name), _Table())
            elif tables.pop((family, name), None) is None:
                raise TableVanished("nft refused the rules: No such file or directory")
        elif match := _OPENS.match(line):
            table = tables.setdefault((match[1], match[2]), _Table())
        elif match := _SET.match(line):
            made = table.sets.setdefault(match[1], _Set(match[2]))
            for element in _elements(match[3]):
                made.add(element)
        elif match := _CHAIN.match(line):
            chain = table.chains.setdefault(match[1], [])
        elif match := _CHANGE.match(line):
            _change(match, tables)
        elif line.startswith("flush "):
            _flush(line, tables)
        elif line == "}":
            chain = None
        else:
            assert chain is not None, f"the model of nft does not know {line!r}"
            chain.append(line)


def _flush(line: str, tables: dict[tuple[str, str], _Table]) -> None:
    match = _FLUSH.match(line)
    if match:
        tables[match[1], match[2]].chains[match[3]].clear()
    else:
        assert line == "flush ruleset", line
        tables.clear()


def _change(match: re.Match[str], tables: dict[tuple[str, str], _Table]) -> None:
    verb, family, table, name, elements = match.groups()
    found = tables.get((family, table))
    if found is None or name not in found.sets:
        raise TableVanished("nft refused the rules: No such file or directory")
    for element in _elements(elements):
        (found.sets[name].add if verb == "add" else found.sets[name].delete)(element)


def _elements(text: str | None) -> list[str]:
    return [element.strip() for element in text.split(",")] if text else []


def _refuses(old: str, new: str) -> bool:
    """nft_pipapo_insert: neither end of what is new may be inside of what is there, unless it is the same."""
    (old_place, _, old_range), (place, _, new_range) = old.rpartition(" . "), new.rpartition(" . ")
    if old == new or old_place != place:
        return False
    there, comes = ip_network(old_range), ip_network(new_range)
    return comes.network_address in there or comes.broadcast_address in there


def _listed(element: str) -> object:
    parts = [_word(word) for word in element.split(" . ")]
    return parts[0] if len(parts) == 1 else {"concat": parts}


def _word(word: str) -> object:
    if word.isdigit():
        return int(word)
    address, slash, length = word.partition("/")
    if not slash or int(length) == (128 if ":" in address else 32):
        return address
    return {"prefix": {"addr": address, "len": int(length)}}
