"""Our nftables tables as nft lists them in JSON: elements of sets, and the rest to compare with. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from strictarp.proxy.nftables import INTERVALS, SETS
from strictarp.proxy.operations import Element


class BadListing(Exception):
    """The text is not what `nft -j list table` prints."""


class Listing(msgspec.Struct, frozen=True):
    """What a table holds. rules: chains and rules without their handles, comparable with another listing."""

    elements: frozenset[Element]
    rules: tuple[str, ...]


def parse_listings(texts: Iterable[bytes]) -> Listing:
    """What several listings hold together. Raises BadListing."""
    found = [parse_listing(text) for text in texts]
    return Listing(
        frozenset().union(*(listing.elements for listing in found)),
        tuple(rule for listing in found for rule in listing.rules),
    )


def parse_listing(text: bytes) -> Listing:
    """Read a listing; empty for an empty text (no such table). Raises BadListing."""
    if not text.strip():
        return Listing(frozenset(), ())
    try:
        entries = msgspec.json.decode(text)["nftables"]
        elements: set[Element] = set()
        rules = []
        for entry in entries:
            if "set" in entry and entry["set"]["name"] in SETS:
                name = entry["set"]["name"]
                elements.update((name, _element(name, raw)) for raw in entry["set"].get("elem", ()))
            elif "chain" in entry or "rule" in entry:
                rules.append(_without_handles(entry))
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:
        raise BadListing(f"nft's listing is not understood: {error!r}") from None
    return Listing(frozenset(elements), tuple(sorted(rules)))


def _element(name: str, raw: object) -> str:
    """An element as `nftables` writes it; nft leaves out /32 and calls /0 a prefix of length 0."""
    parts = raw["concat"] if isinstance(raw, dict) else [raw]
    words = [_word(part) for part in parts]
    if name == INTERVALS and "/" not in words[-1]:
        words[-1] += "/128" if ":" in words[-1] else "/32"
    return " . ".join(words)


def _word(part: object) -> str:
    if isinstance(part, dict):
        prefix = part["prefix"]
        return f"{prefix['addr']}/{prefix['len']}"
    return str(part)


def _without_handles(entry: dict[str, dict[str, object]]) -> str:
    """Rules keep their order by chain in a listing only; it is their text that tells them apart here."""
    (kind, body), *_ = entry.items()
    rest = {name: value for name, value in body.items() if name != "handle"}
    return msgspec.json.encode({kind: rest}, order="sorted").decode()
