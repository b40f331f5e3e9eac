"""Files of sysctl.d: which are read, in which order, and what they would set. Pure.

After systemd src/sysctl/sysctl.c (parse_file, apply_all, apply_glob_option) and src/basic/conf-files.c: a
file of an earlier folder masks those of the same name in later ones, the others are read in the order of
their names whatever folder they are in; a key set again moves to the end unless its value is the same; globs
leave alone the keys that are named exactly anywhere. `sysctl --system` of procps reads /etc/sysctl.conf as
well, last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from strictarp.doctor.node.view import SysctlLine
from strictarp.sysctl.files import BadName, relative_path

FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
LAST = "/etc/sysctl.conf"
KEYS = (
    "accept_local",
    "arp_accept",
    "arp_announce",
    "arp_filter",
    "arp_ignore",
    "arp_notify",
    "drop_gratuitous_arp",
    "proxy_arp",
    "proxy_arp_pvlan",
    "route_localnet",
    "rp_filter",
)
"""Keys of net.ipv4.conf whose lines are kept."""
_GLOB = re.compile(r"[*?\[]")


class File(msgspec.Struct, frozen=True):
    """A file as it lies in its folder; a link to /dev/null is one without text."""

    path: str
    text: str


def in_order(files: Iterable[File]) -> list[File]:
    """The files of FOLDERS that are read, in reading order, then LAST."""
    chosen: dict[str, File] = {}
    last: list[File] = []
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if file.path == LAST:
            last = [file]
        elif name.endswith(".conf") and folder in FOLDERS:
            rival = chosen.get(name)
            if rival is None or FOLDERS.index(folder) < FOLDERS.index(rival.path.rpartition("/")[0]):
                chosen[name] = file
    ordered = [chosen[name] for name in sorted(chosen, key=str.encode)]
    return ordered + last


def lines_of(files: Iterable[File]) -> tuple[SysctlLine, ...]:
    """The lines that bear on ARP, in reading order."""
    return tuple(line for file in in_order(files) for line in _lines(file) if bears_on_arp(line.path))


def _lines(file: File) -> Iterator[SysctlLine]:
    for number, text in enumerate(file.text.split("\n"), 1):
        stripped = text.strip()
        if not stripped or stripped[0] in "#;":
            continue
        parsed = parse_line(stripped)
        if parsed is not None:
            path, value = parsed
            yield SysctlLine(file.path, number, path, value, late=file.path == LAST)


def parse_line(line: str) -> tuple[str, str | None] | None:
    """(path below /proc/sys, value) of `KEY = VALUE` or `-KEY = VALUE`; value None for `-KEY`.

    None: neither of them.
    """
    name, assigned, value = line.partition("=")
    excluded = name.startswith("-")
    if not assigned and not excluded:
        return None
    try:
        path = relative_path(name.removeprefix("-").strip())
    except BadName:
        return None
    return path, value.strip() if assigned else None


def bears_on_arp(path: str) -> bool:
    """It is, or its globs may be, one of KEYS of some interface."""
    parts = path.split("/")
    if len(parts) != 5 or not matches("/".join(parts[:3]), "net/ipv4/conf"):
        return False
    return any(matches(parts[4], key) for key in KEYS)


def matches(pattern: str, path: str) -> bool:
    """As glob(3): nothing but a slash matches a slash."""
    return _regex(pattern).fullmatch(path) is not None


def _regex(pattern: str) -> re.Pattern[str]:
    out, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[" and (end := pattern.find("]", at + 1)) > 0:
            inside = pattern[at:end]
            negated = inside[:1] in ("!", "^")
            body = re.sub(r"([\\\[\]&~|^])", r"\\\1", inside[1:] if negated else inside)
            out += f"(?!/)[{'^' if negated else ''}{body}]"
            at = end + 1
        else:
            out += re.escape(char)
    try:
        return re.compile(out)
    except re.error:  # a range such as [z-a]: it matches nothing
        return re.compile(r"(?!)")


def written(lines: Sequence[SysctlLine], paths: Iterable[str], *, late: bool) -> Mapping[str, SysctlLine]:
    """path → the line that sets it in the end, of these paths (which exist), when all files are applied.

    late: by `sysctl --system`; else by systemd-sysctl.
    """
    options: dict[str, SysctlLine] = {}
    for line in lines:
        if line.late and not late:
            continue
        earlier = options.get(line.path)
        if earlier is not None and earlier.value == line.value:
            continue
        options.pop(line.path, None)
        options[line.path] = line
    existing = frozenset(paths)
    found: dict[str, SysctlLine] = {}
    for path, line in options.items():
        if line.value is None:
            continue
        if _GLOB.search(path):
            found.update({each: line for each in existing if each not in options and matches(path, each)})
        elif path in existing:
            found[path] = line
    return found


def number(line: SysctlLine) -> int | None:
    """The number that it sets; None for what the kernel refuses (proc_dointvec, strtoul with base 0)."""
    text = line.value or ""
    if not re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|[0-9]+)", text):
        return None
    octal = re.fullmatch(r"-?0[0-7]+", text)
    try:
        return int(text, 8 if octal else 0)
    except ValueError:  # 09
        return None
