"""Programs that matter to ARP, recognised by their command lines. Pure.

Of a command line only the flags in `Known.flags` are kept: others may hold passwords.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from strictarp.doctor.node.view import Agent

PROXIES = ("kube-proxy", "kube-router", "strictarp proxy", "k3s", "rke2", "kubelite")
"""What may program Services on a node. k3s, RKE2's supervisor and MicroK8s' kubelite bring kube-proxy."""
ANNOUNCERS: Mapping[str, str] = {
    "metallb speaker": "MetalLB",
    "strictarp speaker": "strictarp",
    "kube-vip": "kube-vip",
    "purelb": "PureLB",
    "openelb": "OpenELB",
    "keepalived": "keepalived",
    "ucarp": "ucarp",
}
"""Agent → product that answers ARP for addresses that move between nodes."""
BINDERS = ("kube-vip", "purelb", "keepalived", "ucarp")
"""Announcers that put their addresses on an interface of the owner."""


class Known(msgspec.Struct, frozen=True):
    """A program: names of its executable, words that must follow, flags that are kept."""

    agent: str
    executables: tuple[str, ...]
    words: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


_PROXY_FLAGS = ("proxy-mode", "ipvs-strict-arp")
_KNOWN = (
    Known("kube-proxy", ("kube-proxy",), flags=(*_PROXY_FLAGS, "config")),
    Known("kube-router", ("kube-router",), flags=("run-service-proxy",)),
    Known("k3s", ("k3s", "k3s-server", "k3s-agent"), flags=("disable-kube-proxy", *_PROXY_FLAGS)),
    Known("rke2", ("rke2",), flags=("disable-kube-proxy",)),
    Known("kubelite", ("kubelite",)),
    Known("k0s", ("k0s",)),
    Known("kubelet", ("kubelet",)),
    Known("strictarp proxy", ("strictarp",), ("proxy",)),
    Known("strictarp speaker", ("strictarp",), ("speaker",)),
    Known("strictarp guard", ("strictarp",), ("guard",), flags=("scope",)),
    Known("keepalived", ("keepalived",), flags=("use-file",)),
    Known("kube-vip", ("kube-vip",)),
    Known("purelb", ("lbnodeagent",)),
    Known("openelb", ("openelb-speaker", "openelb-manager")),
    Known("metallb speaker", ("speaker",)),
    Known("ucarp", ("ucarp",)),
    Known("cilium-agent", ("cilium-agent",)),
    Known("calico-node", ("calico-node", "calico-felix")),
    Known("bird", ("bird", "bird6")),
    Known("frr", ("zebra", "bgpd")),
    Known("systemd-networkd", ("systemd-networkd",)),
    Known("NetworkManager", ("NetworkManager",)),
    Known("dhcp client", ("dhclient", "dhcpcd", "udhcpc")),
    Known("tuned", ("tuned",)),
)
_INTERPRETERS = ("python", "pypy", "bash", "sh")


def recognise(argv: Sequence[str], pid: int, started: float = 0.0) -> Agent | None:
    """The agent that a command line is of, None for all others. started: seconds since the epoch."""
    words = [word for word in argv if word]
    if not words:
        return None
    names = _names(words)
    for known in _KNOWN:
        at = next((at for at, name in names if name in known.executables), None)
        if at is None or tuple(_plain(words[at + 1 :])[: len(known.words)]) != known.words:
            continue
        return Agent(known.agent, pid, _flags(words[at + 1 :], known.flags), started)
    return None


def _names(words: Sequence[str]) -> list[tuple[int, str]]:
    """(place, name) of the executable, and of the script or module where it is an interpreter."""
    first = _base(words[0])
    found = [(0, first)]
    if first.startswith(_INTERPRETERS):
        rest = words[1:4]
        if "-m" in rest and len(words) > 2 + rest.index("-m"):
            at = 2 + rest.index("-m")
            found.append((at, words[at].split(".")[0]))
        else:
            at = next((at for at, word in enumerate(words[1:4], 1) if not word.startswith("-")), 0)
            found.append((at, _base(words[at])))
    return found


def _base(path: str) -> str:
    """The name without folders; `nginx: worker` and login shells' dash are cut."""
    return path.partition(" ")[0].rstrip(":").rpartition("/")[2].removeprefix("-")


def _plain(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith("-")]


def _flags(words: Sequence[str], wanted: Iterable[str]) -> Mapping[str, str]:
    """`--flag=value`, `--flag value`, `--flag`, and `--kube-proxy-arg=flag=value` of k3s."""
    keep = frozenset(wanted)
    found: dict[str, str] = {}
    for at, word in enumerate(words):
        text = word.lstrip("-").removeprefix("kube-proxy-arg=")
        name, equals, value = text.partition("=")
        if name not in keep or not (word.startswith("-") or equals):
            continue
        following = words[at + 1] if at + 1 < len(words) and not words[at + 1].startswith("-") else "true"
        found[name] = value if equals else following
    return found


def started_at(stat: str, boot: float, ticks: int) -> float:
    """When a process began, from /proc/PID/stat; 0 if that cannot be read (proc(5), field 22).

    boot: seconds since the epoch, `btime` of /proc/stat; ticks: per second.
    """
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20 or not fields[19].isdigit() or ticks <= 0:
        return 0.0
    return boot + int(fields[19]) / ticks


def boot_time(stat: str) -> float:
    """`btime` of /proc/stat, 0 without it."""
    for line in stat.splitlines():
        name, _, value = line.partition(" ")
        if name == "btime" and value.strip().isdigit():
            return float(value)
    return 0.0
