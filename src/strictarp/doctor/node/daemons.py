"""Configuration of daemons that write sysctls or remove addresses: keepalived, tuned, networkd. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from strictarp.doctor.node.sysctld import bears_on_arp, parse_line
from strictarp.doctor.node.view import SysctlLine, VrrpInstance

# --- keepalived: keepalived.conf(5) ------------------------------------------------------------------------

_ADDRESS_BLOCKS = ("virtual_ipaddress", "virtual_ipaddress_excluded")


def vrrp_instances(text: str) -> tuple[VrrpInstance, ...]:
    """Each `vrrp_instance`: interface, whether `use_vmac`, addresses."""
    found = []
    words = _keepalived_words(text)
    for at, word in enumerate(words):
        if word == "vrrp_instance" and words[at + 2 : at + 3] == ["{"]:
            found.append(_instance(words[at + 1], words[at + 3 :]))
    return tuple(found)


def _keepalived_words(text: str) -> list[str]:
    """Words and braces; comments begin with `#` or `!`. Line ends are kept as words."""
    lines = (re.sub(r"(^|\s)[#!].*$", "", line) for line in text.splitlines())
    return re.findall(r"[{}\n]|[^\s{}]+", "\n".join(lines))


def _instance(name: str, words: Sequence[str]) -> VrrpInstance:
    interface, vmac, addresses, depth, blocks = "", False, [], 1, [""]
    last, fresh = "", True
    for word in words:
        if word == "\n":
            fresh = True
            continue
        if word == "{":
            depth += 1
            blocks.append(last)
        elif word == "}":
            depth -= 1
            blocks.pop()
            if depth == 0:
                break
        elif depth == 1:
            interface = word if last == "interface" else interface
            vmac = vmac or word == "use_vmac"
        elif blocks[-1] in _ADDRESS_BLOCKS and fresh:
            addresses.append(word.partition("/")[0])
        fresh = word in "{}"
        last = last if fresh else word
    return VrrpInstance(name, interface, vmac, tuple(addresses))


# --- tuned: profiles are INI files --------------------------------------------------------------------------


def tuned_includes(text: str) -> list[str]:
    """Profiles that a profile builds on, in their order (`include=` in [main])."""
    said = [value for _, section, key, value in _ini(text) if (section, key) == ("main", "include")]
    return [name.strip().lstrip("-?") for value in said for name in value.split(",") if name.strip()]


def tuned_lines(files: Iterable[tuple[str, str]]) -> tuple[SysctlLine, ...]:
    """What the [sysctl] sections of profiles, (path, text) from the innermost on, set of ARP."""
    found: dict[str, SysctlLine] = {}
    for file, text in files:
        for number, section, key, value in _ini(text):
            parsed = parse_line(f"{key}={value}") if section == "sysctl" else None
            if parsed is not None and bears_on_arp(parsed[0]):
                found[parsed[0]] = SysctlLine(file, number, parsed[0], value.strip('"'))
    return tuple(found.values())


def _ini(text: str) -> Iterator[tuple[int, str, str, str]]:
    """(line, section, key, value) of each assignment."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        head = re.fullmatch(r"\[([^\]]*)\]", stripped)
        if head:
            section = head[1]
        elif "=" in stripped and stripped[:1] not in ("#", ";"):
            key, _, value = stripped.partition("=")
            yield number, section, key.strip(), value.strip()


# --- systemd-networkd: systemd.network(5) -------------------------------------------------------------------


def network_files(link_state: str) -> tuple[str, ...]:
    """The .network file of an interface and its drop-ins, from /run/systemd/netif/links/INDEX."""
    said = {key: value for _, _, key, value in _ini(link_state)}
    dropins = re.findall(r'[^\s"]+', said.get("NETWORK_FILE_DROPINS", ""))
    return tuple(path for path in (said.get("NETWORK_FILE", ""), *dropins) if path)


def keep_configuration(texts: Iterable[str]) -> str:
    """The last KeepConfiguration= of a .network file and its drop-ins, empty without one."""
    said = [value for text in texts for _, _, key, value in _ini(text) if key == "KeepConfiguration"]
    return said[-1].lower() if said else ""
