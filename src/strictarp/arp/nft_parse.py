"""Reads nftables text, as `nft list ruleset` prints it or as scripts for `nft -f` have it. Pure.

Only what can meet an ARP packet is understood: families arp, netdev and bridge; the others are passed over.
What is not understood is refused by name, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from strictarp.arp.nft import Chain, Ruleset, Step, Table
from strictarp.arp.nft_rules import Sets, parse_rule, parse_set_elements
from strictarp.arp.unsupported import Unsupported

_TOKEN = re.compile(r'"[^"]*"|[!=<>]=|[{}();,\n=:&<>]|(?:[^\s{}();,"=:!<>&]|:(?=\S))+|!')
_DEFINITION = re.compile(r"^[ \t]*(?:re)?define\s+(\w+)\s*=\s*(\{[^}]*\}|[^\n;]+?)\s*$", re.MULTILINE)
_FAMILIES = ("arp", "netdev", "bridge")
_PRIORITIES = {
    "raw": -300,
    "mangle": -150,
    "dstnat": -100,
    "filter": 0,
    "security": 50,
    "srcnat": 100,
    "out": 100,
}
_BRIDGE_PRIORITIES = {"dstnat": -300, "filter": -200, "out": 100, "srcnat": 300}
_ENDS = ("\n", ";", "}")
_SET_BODY = {"type", "typeof", "flags", "elements", "timeout", "gc-interval", "size", "comment", "policy"}


class _Reader:
    """Tokens with a position."""

    def __init__(self, text: str) -> None:
        lines = (re.sub(r"(^|\s)#.*$", "", line) for line in text.splitlines())
        self.tokens: Sequence[str] = _TOKEN.findall("\n".join(lines) + "\n")
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def skip_breaks(self) -> None:
        while self.peek() in ("\n", ";") and self.peek():
            self.at += 1

    def expect(self, wanted: str) -> None:
        token = self.next()
        if token != wanted:
            raise Unsupported(f"nft: {token or 'end of text'!r} where {wanted!r} is expected")

    def statement(self, *, empty_is_fine: bool = False) -> list[str]:
        """Tokens up to the end of a rule; line breaks inside braces do not end it."""
        taken: list[str] = []
        depth = 0
        while self.peek() and (depth or self.peek() not in _ENDS):
            word = self.next()
            depth += {"{": 1, "}": -1}.get(word, 0)
            if word != "\n":
                taken.append(word)
        if not taken and not empty_is_fine:
            raise Unsupported(f"nft: {self.peek() or 'end of text'!r} where a statement is expected")
        return taken

    def block(self) -> list[str]:
        """What stands between this brace and the one that closes it."""
        self.expect("{")
        start, depth = self.at, 1
        while depth:
            token = self.next()
            if not token:
                raise Unsupported("nft: a brace is not closed")
            depth += {"{": 1, "}": -1}.get(token, 0)
        return list(self.tokens[start : self.at - 1])


class _Draft(msgspec.Struct):
    """A table while it is read."""

    chains: dict[str, Chain] = {}
    sets: Sets = msgspec.field(default_factory=Sets)
    bodies: list[tuple[str, list[str]]] = []
    """Rules, parsed when all sets are known."""


def parse_nft(text: str) -> Ruleset:
    """The rules in `text`. Raises Unsupported, which names what is not understood."""
    reader = _Reader(_defined(text))
    drafts: dict[tuple[str, str], _Draft] = {}
    while True:
        reader.skip_breaks()
        if not reader.peek():
            break
        _command(reader, drafts)
    return Ruleset(tuple(_finished(family, name, draft) for (family, name), draft in drafts.items()))


def _defined(text: str) -> str:
    """`define x = 192.0.2.1` put in where `$x` stands."""
    definitions = dict(_DEFINITION.findall(text))
    if not definitions:
        return text
    rest = _DEFINITION.sub("", text)
    for name in sorted(definitions, key=len, reverse=True):
        rest = rest.replace(f"${name}", definitions[name])
    return rest


def _command(reader: _Reader, drafts: dict[tuple[str, str], _Draft]) -> None:
    word = reader.next()
    verb = "add"
    if word in ("add", "create", "insert", "delete", "destroy", "flush"):
        verb, word = word, reader.next()
    if (verb, word) == ("flush", "ruleset"):
        reader.statement(empty_is_fine=True)
        drafts.clear()
        return
    if word not in ("table", "chain", "rule", "set", "map", "element"):
        raise Unsupported(f"nft command {word!r}")
    family = reader.next() if reader.peek() in (*_FAMILIES, "ip", "ip6", "inet") else "ip"
    table = reader.next()
    if family not in _FAMILIES:
        _pass_over(reader)
        return
    if verb in ("delete", "destroy", "flush"):
        _taken_back(reader, drafts, (family, table), word, verb=verb)
        return
    draft = drafts.setdefault((family, table), _Draft())
    if word == "table":
        if reader.peek() == "{":
            _table(reader, family, draft)
        return
    _object(reader, word, family, draft, first=verb == "insert")


def _taken_back(
    reader: _Reader, drafts: dict[tuple[str, str], _Draft], key: tuple[str, str], word: str, *, verb: str
) -> None:
    """`delete table`, `flush table|chain`, `delete chain|element`."""
    draft = drafts.get(key, _Draft())
    if word == "table":
        if verb == "flush":
            draft.bodies = []
        else:
            drafts.pop(key, None)
        return
    name = reader.next()
    if word == "chain":
        draft.bodies = [body for body in draft.bodies if body[0] != name]
        if verb != "flush":
            draft.chains.pop(name, None)
    elif word == "element":
        draft.sets.remove(name, parse_set_elements(reader.statement()))
    elif word in ("set", "map") and verb == "flush":
        draft.sets.remove(name, draft.sets.get(name))
    else:
        raise Unsupported(f"nft {verb} {word}")


def _pass_over(reader: _Reader) -> None:
    while reader.peek() not in ("\n", ";", ""):
        if reader.peek() == "{":
            reader.block()
        else:
            reader.next()


def _table(reader: _Reader, family: str, draft: _Draft) -> None:
    reader.expect("{")
    while True:
        reader.skip_breaks()
        word = reader.next()
        if word == "}":
            return
        if word == "comment":
            reader.statement()
        elif word in ("chain", "set", "map"):
            _object(reader, word, family, draft)
        elif word in ("counter", "quota", "limit"):
            reader.next()
            reader.block()
        else:
            raise Unsupported(f"nft: {word!r} in a table")


def _object(reader: _Reader, word: str, family: str, draft: _Draft, *, first: bool = False) -> None:
    name = reader.next()
    if word == "chain":
        draft.chains.setdefault(name, Chain(name))
        if reader.peek() == "{":
            _chain(reader, name, family, draft)
    elif word == "rule":
        draft.chains.setdefault(name, Chain(name))
        draft.bodies.insert(0 if first else len(draft.bodies), (name, reader.statement()))
    elif word == "element":
        draft.sets.add(name, parse_set_elements(reader.statement()))
    else:
        _set(reader, name, draft)


def _chain(reader: _Reader, name: str, family: str, draft: _Draft) -> None:
    reader.expect("{")
    while True:
        reader.skip_breaks()
        if reader.peek() == "}":
            reader.next()
            return
        words = reader.statement()
        if words[:1] == ["type"]:
            draft.chains[name] = _base(name, words, family)
        elif words[:1] == ["policy"]:
            draft.chains[name] = msgspec.structs.replace(draft.chains[name], policy=words[1])
        elif words[:1] != ["comment"]:
            draft.bodies.append((name, words))


def _base(name: str, words: list[str], family: str) -> Chain:
    """`type filter hook ingress device "e0" priority filter - 10`."""
    joined = " ".join(words)
    found = re.fullmatch(
        r"type \S+ hook (\w+)(?: devices? =? ?(.+?))? priority ([\w-]+)(?: ([+-]) (\d+))?", joined
    )
    if found is None:
        raise Unsupported(f"nft chain {name}: {joined!r}")
    hook, devices, priority, sign, offset = found.groups()
    names = {**_PRIORITIES, **(_BRIDGE_PRIORITIES if family == "bridge" else {})}
    try:
        level = names[priority] if priority in names else int(priority)
    except ValueError:
        raise Unsupported(f"nft chain {name}: priority {priority!r}") from None
    level += int(f"{sign}{offset}") if sign else 0
    listed = tuple(re.findall(r'[^\s{},"]+', devices)) if devices else ()
    return Chain(name, hook=hook, priority=level, devices=listed)


def _set(reader: _Reader, name: str, draft: _Draft) -> None:
    body = _Reader("")
    body.tokens = reader.block()
    draft.sets.add(name, [])
    while True:
        body.skip_breaks()
        if not body.peek():
            return
        words = body.statement()
        if words[0] not in _SET_BODY and words[0] not in ("auto-merge", "counter"):
            raise Unsupported(f"nft set {name}: {words[0]!r}")
        if words[0] == "elements":
            draft.sets.add(name, parse_set_elements(words[2:]))


def _finished(family: str, name: str, draft: _Draft) -> Table:
    rules: dict[str, list[tuple[Step, ...]]] = {chain: [] for chain in draft.chains}
    for chain, words in draft.bodies:
        rules[chain].append(parse_rule(words, draft.sets))
    chains = [msgspec.structs.replace(chain, rules=tuple(rules[key])) for key, chain in draft.chains.items()]
    return Table(family, name, tuple(chains))
