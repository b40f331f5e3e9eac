"""Setting `ipvs.strictARP` in the text of a KubeProxyConfiguration, and nothing else. Pure.

The text is YAML or JSON that people own: comments, order, indentation and keys that nobody knows stay as they
are, byte for byte. So the place is found by parsing with positions, a few characters are replaced or put in
there, and the result is proved: parsed again, it must differ from the old one in this one value only.
"""

from __future__ import annotations

import copy
import difflib
import json
import re

import msgspec
import yaml

from strictarp.cluster.signs import KUBEADM, Holder
from strictarp.errors import UserError

KIND = "KubeProxyConfiguration"
_COMMENTED = re.compile(r"[ \t]*#[ \t]*strictARP\b.*")


class NotIpvs(UserError):
    """The configuration is for another mode of the proxy."""


class Edit(msgspec.Struct, frozen=True):
    """The outcome: both texts, what the value was (None: absent, which means false), and the file's name."""

    before: str
    after: str
    was: bool | None
    name: str = KUBEADM.key

    @property
    def changed(self) -> bool:
        """There is something to write."""
        return self.before != self.after

    @property
    def diff(self) -> str:
        """As a unified diff; empty without a change."""
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), self.name, self.name, lineterm="", n=2
        )
        return "\n".join(lines)


def set_strictarp(text: str, wanted: bool, holder: Holder = KUBEADM) -> Edit:
    """Ask for strictARP or not. `holder`: where the text is from.

    Raises UserError naming place and field when that cannot be done.
    """
    was = read_strictarp(text, holder)
    if bool(was) == wanted:
        return Edit(text, text, was, holder.key)
    root = _root(text)
    after = _edited(text, root, "true" if wanted else "false")
    if not _proved(text, after, wanted):
        raise UserError(
            f"{holder.title}: ipvs.strictARP: cannot be changed without touching something else (an alias, "
            f"or a key listed twice?); set it to {str(wanted).lower()} by hand: {holder.by_hand}"
        )
    return Edit(text, after, was, holder.key)


def read_strictarp(text: str, holder: Holder = KUBEADM) -> bool | None:
    """What the text asks for, None if it says nothing. Raises UserError for a file that is not for ipvs."""
    config = _load(text, holder)
    mode = config.get("mode")
    if (mode or holder.default_mode) != "ipvs":
        told = f"{mode!r}" if mode else f"empty, which means {holder.default_mode}"
        raise NotIpvs(
            f"{holder.title}: mode: {told}; strictARP is a setting of mode ipvs. In the other modes no "
            "Service IP is bound to an interface, so there is nothing to silence; set `mode: ipvs` first to "
            "use IPVS"
        )
    ipvs = config.get("ipvs")
    if ipvs is None:
        return None
    if not isinstance(ipvs, dict):
        raise UserError(
            f"{holder.title}: ipvs: must be a mapping, not {type(ipvs).__name__}; mend it: {holder.by_hand}"
        )
    value = ipvs.get("strictARP")
    if value is not None and not isinstance(value, bool):
        raise UserError(
            f"{holder.title}: ipvs.strictARP: must be true or false, not {value!r}; mend it: {holder.by_hand}"
        )
    return value


def health_port(text: str, holder: Holder = KUBEADM) -> int:
    """The port of the proxies' health server (`healthzBindAddress`, 10256 unless it says otherwise)."""
    address = _load(text, holder).get("healthzBindAddress")
    port = str(address or "").rpartition(":")[2]
    # Without a port, an IPv6 address ends in something like one: only its bracketed form carries a port.
    bare_v6 = str(address or "").count(":") > 1 and "]:" not in str(address)
    return int(port) if port.isdigit() and not bare_v6 and ":" in str(address) else 10256


# --- reading -----------------------------------------------------------------------------------------------


def _load(text: str, holder: Holder = KUBEADM) -> dict[str, object]:
    try:
        documents = [document for document in yaml.safe_load_all(_spaced(text)) if document is not None]
    except yaml.YAMLError as error:
        raise UserError(f"{holder.title}: cannot be read: {' '.join(str(error).split())}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise UserError(f"{holder.title}: one {KIND} is expected, there are {len(documents)} documents")
    kind = documents[0].get("kind")
    if kind != KIND:
        raise UserError(f"{holder.title}: kind: must be {KIND}, not {kind!r}")
    return documents[0]


def _spaced(text: str) -> str:
    """Tabs between the tokens of JSON as spaces, which YAML wants; every character stays in its place."""
    return text.replace("\t", " ") if _is_json(text) else text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _root(text: str) -> yaml.MappingNode:
    nodes = [node for node in yaml.compose_all(_spaced(text), Loader=yaml.SafeLoader) if node is not None]
    root = nodes[0]
    assert isinstance(root, yaml.MappingNode)  # noqa: S101 - `_load` has seen it
    return root


def _proved(before: str, after: str, wanted: bool) -> bool:
    """The two differ in ipvs.strictARP and in nothing else."""
    try:
        expected, seen = copy.deepcopy(_load(before)), _load(after)
    except UserError:
        return False
    ipvs = expected.get("ipvs") or {}
    if not isinstance(ipvs, dict):
        return False
    expected["ipvs"] = {**ipvs, "strictARP": wanted}
    return seen == expected and _is_json(before) == _is_json(after)


# --- writing -----------------------------------------------------------------------------------------------


def _edited(text: str, root: yaml.MappingNode, value: str) -> str:
    found = _entry(root, "ipvs")
    if found is None:
        return _with_section(text, root, value)
    _, section = found
    if not isinstance(section, yaml.MappingNode):  # null, or nothing
        return _with_filled_section(text, root, found, value)
    own = _entry(section, "strictARP")
    if own is not None:
        return _with_scalar(text, own[1], value)
    if section.flow_style:
        return _with_flow_key(text, section, "strictARP", value)
    return _with_block_key(text, section, value)


def _entry(mapping: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    return next((pair for pair in mapping.value if pair[0].value == key), None)


def _with_scalar(text: str, node: yaml.Node, value: str) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    blank = " " if start == end and text[start - 1] == ":" else ""
    return text[:start] + blank + value + text[end:]


def _with_flow_key(text: str, mapping: yaml.MappingNode, key: str, value: str) -> str:
    """Into `{…}`, before the first key, spaced as that one is."""
    name = f'"{key}"' if _is_json(text) else key
    inside = mapping.start_mark.index + 1
    if not mapping.value:
        return f"{text[:inside]}{name}: {value}{text[inside:]}"
    first = mapping.value[0][0].start_mark.index
    gap = text[inside:first]
    return f"{text[:first]}{name}: {value},{gap or ' '}{text[first:]}"


def _with_block_key(text: str, mapping: yaml.MappingNode, value: str) -> str:
    """On a line of its own: below the comment that holds it, else where kubeadm's order has it."""
    keys = [pair[0] for pair in mapping.value]
    indent = " " * keys[0].start_mark.column
    line = f"{indent}strictARP: {value}{_newline(text)}"
    begin, end = _line_start(text, keys[0].start_mark.index), mapping.end_mark.index
    at = begin
    for each in text[begin:end].splitlines(keepends=True):
        at += len(each)
        if _COMMENTED.fullmatch(each.rstrip("\r\n")) and each.endswith("\n"):
            return text[:at] + line + text[at:]
    later = next((key for key in keys if str(key.value) > "strictARP"), keys[0])
    place = _line_start(text, later.start_mark.index)
    return text[:place] + line + text[place:]


def _with_section(text: str, root: yaml.MappingNode, value: str) -> str:
    """A whole `ipvs`, behind `mode`, or behind `kind` where the mode is left to its default."""
    if root.flow_style:
        inner = f'{{"strictARP": {value}}}' if _is_json(text) else f"{{strictARP: {value}}}"
        return _with_flow_key(text, root, "ipvs", inner)
    mode = _entry(root, "mode") or _entry(root, "kind")
    assert mode is not None  # noqa: S101 - it has been read
    indent, newline = " " * mode[0].start_mark.column, _newline(text)
    added = f"{indent}ipvs:{newline}{indent}  strictARP: {value}{newline}"
    return _below(text, mode[1].end_mark.index, added)


def _with_filled_section(
    text: str, root: yaml.MappingNode, found: tuple[yaml.Node, yaml.Node], value: str
) -> str:
    key, section = found
    if root.flow_style:
        inner = f'{{"strictARP": {value}}}' if _is_json(text) else f"{{strictARP: {value}}}"
        return _with_scalar(text, section, inner)
    start, end = section.start_mark.index, section.end_mark.index
    added = f"{' ' * key.start_mark.column}  strictARP: {value}{_newline(text)}"
    kept = text[:start].rstrip(" ") + text[end:] if start < end else text
    return _below(kept, key.end_mark.index, added)


def _below(text: str, index: int, added: str) -> str:
    """Lines put in below the line that `index` is on."""
    end = text.find("\n", index)
    if end < 0:
        return text + _newline(text) + added
    return text[: end + 1] + added + text[end + 1 :]


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
