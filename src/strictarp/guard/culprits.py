"""Who may have changed a sysctl: settings on disk and agents that are known to write it. Pure.

sysctl.d after sysctl.d(5): a file of the same name in an earlier folder hides the others, names are read in
the order of their bytes, the last assignment wins, a pattern touches no key that has a line of its own.
/etc/sysctl.conf is read by sysctl(8) --system last.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")
SYSCTL_CONF = "/etc/sysctl.conf"
CILIUM_OVERRIDE = "99-zzz-override_cilium.conf"
_LINE = re.compile(r"\s*-?\s*([^\s=#;]+)\s*=\s*(.*?)\s*")


class Evidence(msgspec.Struct, frozen=True):
    """What was found on the node. files: path → text of sysctl's settings. tuned: path → text of the active
    profile and those that it includes. keepalived: text of its configuration. processes: names of programs
    that run.
    """

    files: Mapping[str, str] = {}
    tuned: Mapping[str, str] = {}
    keepalived: str = ""
    processes: Collection[str] = ()


class Line(msgspec.Struct, frozen=True):
    """An assignment in a file."""

    path: str
    number: int
    pattern: str
    value: str

    @property
    def exact(self) -> bool:
        """It names one key, not a pattern."""
        return not any(sign in self.pattern for sign in "*?[")


def reading_order(paths: Collection[str]) -> list[str]:
    """The files that count, in the order of reading."""
    by_name: dict[str, str] = {}
    for folder in reversed(FOLDERS):
        for path in paths:
            if path.rpartition("/")[0] == folder and path.endswith(".conf"):
                by_name[path.rpartition("/")[2]] = path
    last = [SYSCTL_CONF] if SYSCTL_CONF in paths else []
    return [by_name[name] for name in sorted(by_name, key=str.encode)] + last


def slashed(name: str) -> str:
    """A key with slashes for separators: the sign that comes first separates, as in sysctl(8)."""
    dot, slash = name.find("."), name.find("/")
    dotted = dot >= 0 and (slash < 0 or dot < slash)
    return name.translate(str.maketrans("./", "/.")) if dotted else name


def lines_for(name: str, path: str, text: str) -> Iterator[Line]:
    """Lines of a file that set the sysctl `name` (dotted)."""
    for number, line in enumerate(text.splitlines(), 1):
        found = _LINE.fullmatch(line)
        if found is not None and _matches(slashed(found[1]), slashed(name)):
            yield Line(path, number, found[1], found[2])


def _matches(pattern: str, name: str) -> bool:
    """As glob(3): a star does not cross a slash."""
    parts, wanted = pattern.split("/"), name.split("/")
    return len(parts) == len(wanted) and all(
        fnmatchcase(each, part) for part, each in zip(parts, wanted, strict=True)
    )


def setting(name: str, evidence: Evidence) -> Line | None:
    """The line that wins for a sysctl when all settings are applied, None without one."""
    found = [
        line for path in reading_order(evidence.files) for line in lines_for(name, path, evidence.files[path])
    ]
    counting = [line for line in found if line.exact] or found
    return counting[-1] if counting else None


def suspects(name: str, value: int, evidence: Evidence) -> tuple[str, ...]:
    """In words, who may have set the sysctl `name` to `value`, the likeliest first; empty when nobody can be
    named.
    """
    return tuple(dict.fromkeys((*_settings(name, value, evidence), *_agents(name, value, evidence))))


def _settings(name: str, value: int, evidence: Evidence) -> Iterator[str]:
    line = setting(name, evidence)
    if line is not None and line.value == str(value):
        who = "systemd-sysctl or `sysctl --system`"
        if any(path.endswith(f"/{CILIUM_OVERRIDE}") for path in evidence.files):
            who += " (Cilium's sysctlfix runs it when its agent starts)"
        yield f"{line.path}:{line.number} sets {line.pattern} = {line.value}; applied by {who}"
    for path, text in evidence.tuned.items():
        for each in lines_for(name, path, _section(text, "sysctl")):
            if each.value == str(value):
                yield f"tuned's active profile sets {each.pattern} = {each.value} ({path})"


def _section(text: str, wanted: str) -> str:
    """The lines of one section of an INI file, the others blank."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.strip().startswith("["):
            inside = line.strip() == f"[{wanted}]"
        lines.append(line if inside else "")
    return "\n".join(lines)


_WRITERS: Sequence[tuple[str, str, frozenset[int], str]] = (
    ("kube-router", "all.arp_ignore", frozenset({1}), "its service proxy sets it when it starts"),
    ("kube-router", "all.arp_announce", frozenset({2}), "its service proxy sets it when it starts"),
    ("kube-proxy", "all.arp_ignore", frozenset({1}), "with strictARP it sets it when it starts"),
    ("kube-proxy", "all.arp_announce", frozenset({2}), "with strictARP it sets it when it starts"),
    ("antrea-agent", "arp_announce", frozenset({1}), "it sets it on its gateway interface"),
)
"""(program, end of the sysctl's name, values, why)."""


def _agents(name: str, value: int, evidence: Evidence) -> Iterator[str]:
    for program, key, values, why in _WRITERS:
        if program in evidence.processes and name.endswith(f".{key}") and value in values:
            yield f"{program} runs here: {why}"
    vmac = any(line.split()[:1] == ["use_vmac"] for line in evidence.keepalived.splitlines())
    if vmac and name.endswith(".arp_ignore") and value in (0, 1):
        yield (
            "keepalived with use_vmac sets arp_ignore of an interface, and at its end puts back 0 or 1, "
            "whatever it was"
        )
