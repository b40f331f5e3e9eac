"""What may drop or change ARP on its way: listings of nft, arptables and tc. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.unsupported import Unsupported
from strictarp.doctor.node.arptables_save import arptables_rules
from strictarp.doctor.node.view import Filter

_HEAD = re.compile(r"^table (arp|netdev|bridge) (\S+) \{")
_STOPS = re.compile(r"\b(drop|shot|stolen|trap|redirect|mirred|direct-action)\b", re.IGNORECASE)


def nft_filters(listing: str) -> tuple[Filter, ...]:
    """The tables of `nft list ruleset`, each judged on its own: one that is not understood hides no other."""
    found = []
    for name, text in _tables(listing):
        try:
            parse_nft(text)
        except Unsupported as error:
            found.append(Filter("nft", name, text, str(error)))
        else:
            found.append(Filter("nft", name, text))
    return tuple(found)


def _tables(listing: str) -> Iterator[tuple[str, str]]:
    """(family and name, text) of each table: it ends with a brace at the beginning of a line."""
    name, lines = "", list[str]()
    for line in listing.splitlines():
        head = _HEAD.match(line)
        if head:
            name, lines = f"{head[1]} {head[2]}", []
        if name:
            lines.append(line)
        if name and line.startswith("}"):
            yield name, "\n".join(lines) + "\n"
            name = ""


def readable(filters: Iterable[Filter]) -> str:
    """The text of all tables of nft that are understood, for the facts."""
    return "".join(each.text for each in filters if each.kind == "nft" and not each.unread)


def arptables_filter(listing: str) -> Filter | None:
    """The legacy table, by `arptables-save`; None when it is empty."""
    lines = [line for line in listing.splitlines() if line.startswith(("-A", ":")) and _says_something(line)]
    if not lines:
        return None
    text = "\n".join(lines) + "\n"
    try:
        arptables_rules(text)
    except Unsupported as error:
        return Filter("arptables", "filter", text, str(error))
    return Filter("arptables", "filter", text)


def _says_something(line: str) -> bool:
    return not line.startswith(":") or " ACCEPT" not in line


def tc_filter(listing: str, device: str) -> Filter | None:
    """Filters of `tc filter show dev DEVICE ingress` that are for ARP alone and stop frames, else None.

    What a BPF program in direct action does is not told by the listing.
    """
    kept: list[str] = []
    programs = 0
    block: list[str] = []
    for line in [*listing.splitlines(), "filter"]:
        if line.startswith("filter"):
            if block and " protocol arp " in block[0] and any(_STOPS.search(each) for each in block):
                kept += block
                programs += " direct-action" in block[0]
            block = []
        block.append(line)
    if not kept:
        return None
    unread = "a BPF program decides" if programs else ""
    return Filter("tc", f"{device} ingress", "\n".join(kept), unread)
