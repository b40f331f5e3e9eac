"""Lines of iproute2, sysctl, nft, tc and arptables, carried out on a host under construction. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping

from strictarp.arp import ip_link, ip_tables
from strictarp.arp.arptables import append_arptables
from strictarp.arp.building import SMALLEST_MTU, Builder
from strictarp.arp.iproute import abbreviated
from strictarp.arp.shell import Command, commands_of, printed
from strictarp.arp.tc import parse_tc
from strictarp.arp.unsupported import Refused, Unsupported

Words = list[str]

_PROC = "/proc/sys/net/"
_IP_OBJECTS = {
    "address": "addr",
    **dict.fromkeys(("addrlabel", "maddress", "monitor", "tcp_metrics"), "skip"),
    "route": "route",
    "rule": "rule",
    "neighbor": "neigh",
    "neighbour": "neigh",
    "link": "link",
}
"""In the order in which iproute2 looks at what may be abbreviated (ip/ip.c)."""
_SHOWING = ("show", "list", "lst", "ls", "get", "monitor")


def run(builder: Builder, line: str) -> None:
    """Carry out one line, be it of several commands; of those that the kernel refuses nothing remains.

    Raises Unsupported for what the model does not know, and Refused where the last command was refused.
    """
    refused: Refused | None = None
    for command in commands_of(line):
        if refused and command.chained:
            continue
        refused = None
        try:
            _carry_out(builder, command)
        except Refused as error:
            refused = error
        except (IndexError, ValueError) as error:
            shown = " ".join(command.words)
            raise Unsupported(f"command {shown!r}: a word or number is missing or wrong ({error})") from error
    if refused:
        raise refused


def run_all(builder: Builder, lines: Iterable[str]) -> None:
    """Carry out line by line, whatever the kernel refuses of them. Raises Unsupported."""
    for line in lines:
        with contextlib.suppress(Refused):
            run(builder, line)


def _carry_out(builder: Builder, command: Command) -> None:
    words = list(command.words)
    while words[:1] and words[0] in ("sudo", "command", "exec", "busybox"):
        words = words[1:]
    if not words:
        return
    name, rest = words[0].rpartition("/")[2], words[1:]
    if name in ("echo", "printf", "cat") and command.writes:
        _written(builder, command.writes, printed([name, *rest], command.given))
    elif name == "tee":
        for path in (word for word in rest if not word.startswith("-")):
            _written(builder, path, command.given)
    elif name in _PROGRAMS:
        _PROGRAMS[name](builder, rest, command.given)
    elif name in ("sh", "bash") and rest[:1] in (["-c"], ["-ec"], ["-xc"]):
        run(builder, rest[1])
    else:
        raise Unsupported(f"command {' '.join(words)!r}")


def _written(builder: Builder, path: str, text: str) -> None:
    """`echo 1 > /proc/sys/net/ipv4/conf/e0/arp_ignore`."""
    if not path.startswith(_PROC):
        raise Unsupported(f"a file written: {path!r}")
    sysctl(builder, "net/" + path.removeprefix(_PROC), text.strip())


def _ip(builder: Builder, words: Words, given: str) -> None:
    """`ip [OPTIONS] OBJECT VERB ...`; a namespace that is named is taken for this host's."""
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0).lstrip("-")
        if option in ("n", "netns", "family", "f", "rcvbuf"):
            rest.pop(0)
        elif option in ("b", "batch"):
            rest.pop(0)
            run_all(builder, (f"ip {line}" for line in given.splitlines() if line.strip()))
            return
        elif option in ("6", "B", "M", "0"):
            if option != "6":
                raise Unsupported(f"ip -{option}")
            return
    if rest[:2] in (["netns", "exec"], ["net", "exec"]) or rest[:2] == ["vrf", "exec"]:
        _carry_out(builder, Command(tuple(rest[3:]), given))
        return
    name = abbreviated(rest[0], _IP_OBJECTS)
    verb = rest[1] if len(rest) > 1 else "show"
    if name == "skip" or verb in _SHOWING:
        return
    if name not in _IP:
        raise Unsupported(f"command {' '.join(['ip', *words])!r}")
    _IP[name](builder, verb, rest[2:])


_IP: Mapping[str, Callable[[Builder, str, Words], None]] = {
    "link": ip_link.link,
    "addr": ip_tables.addr,
    "route": ip_tables.route,
    "rule": ip_tables.rule,
    "neigh": ip_tables.neigh,
}


def _sysctl_command(builder: Builder, words: Words, given: str) -> None:
    """`sysctl -qw a=b c=d`, `sysctl a = b` as one word, and `sysctl -p -` with lines of both."""
    assignments = [word for word in words if not word.startswith("-")]
    if "-p" in words or "--load" in words:
        lines = (line.strip() for line in given.splitlines())
        assignments = [line for line in lines if line and line[0] not in "#;"]
    for word in assignments:
        key, equals, value = word.partition("=")
        if not equals:
            if "-w" in words or "--write" in words:
                raise Unsupported(f"sysctl {word}")
            continue
        sysctl(builder, key.strip().lstrip("-"), value.strip())


def _nft(builder: Builder, words: Words, given: str) -> None:
    """`nft COMMAND`, or `nft -f -` with a script."""
    rest = [word for word in words if word not in _NFT_HARMLESS]
    if rest[:1] in (["-f"], ["--file"]):
        if rest[1:2] not in (["-"], ["/dev/stdin"]):
            raise Unsupported(f"nft -f {' '.join(rest[1:])}: only a script given with the line is read")
        builder.add_nft(given)
    elif rest[:1] != ["list"]:
        builder.add_nft(" ".join(rest))


_NFT_HARMLESS = ("-a", "--handle", "-e", "--echo", "-n", "--numeric", "-s", "-nn", "-o", "--optimize")


def _tc(builder: Builder, words: Words, given: str) -> None:
    rest = [word for word in words if word not in ("-force", "-s")]
    if rest[:1] in (["-b"], ["-batch"]):
        run_all(builder, (f"tc {line}" for line in given.splitlines() if line.strip()))
        return
    made = parse_tc(rest)
    if made is not None:
        builder.tc.append(made)


def _nothing(builder: Builder, words: Words, given: str) -> None:
    """Programs that change nothing here: `modprobe dummy`, `sleep 1`, `true`."""


def _arptables(builder: Builder, words: Words, given: str) -> None:
    append_arptables(builder, words)


_PROGRAMS: Mapping[str, Callable[[Builder, Words, str], None]] = {
    "ip": _ip,
    "sysctl": _sysctl_command,
    "nft": _nft,
    "tc": _tc,
    "bridge": ip_link.bridge,
    "arptables": _arptables,
    "arptables-nft": _arptables,
    "arptables-legacy": _arptables,
    **dict.fromkeys(
        ("sleep", "true", ":", "modprobe", "echo", "set", "sync", "cat", "ping", "ethtool"), _nothing
    ),
}


def sysctl(builder: Builder, key: str, value: str | int) -> None:
    """Write a sysctl, with or without `net.ipv4.` in front. Raises Unsupported."""
    try:
        number = int(value, 0) if isinstance(value, str) else int(value)
    except ValueError:
        raise Unsupported(f"sysctl {key}={value!r}") from None
    slashed = "/" in key and ("." not in key or key.index("/") < key.index("."))
    name = key.translate(_SWAPPED) if slashed else key
    name = name.removeprefix("net.").removeprefix("ipv4.")
    if name.startswith(("ipv6.", "core.", "netfilter.", "bridge.")):
        if name.startswith("core.devconf_inherit"):
            raise Unsupported(f"sysctl {key}")
        return
    if name == "ip_forward":
        builder.conf.write("all", "forwarding", number)
        return
    kind, _, rest = name.partition(".")
    device, _, leaf = rest.rpartition(".")
    device = device.replace("/", ".")
    if kind == "conf" and device:
        if device not in ("all", "default") and builder.device(device).mtu < SMALLEST_MTU:
            raise Unsupported(f"sysctl {key}: the MTU of {device} is too small, it has no IPv4")
        builder.conf.write(device, leaf, number)
    elif kind == "neigh" and device:
        if leaf == "proxy_delay":
            builder.proxy_delay[device] = number
    elif kind in _IRRELEVANT:
        return
    else:
        raise Unsupported(f"sysctl {key}")


_SWAPPED = str.maketrans("./", "/.")
"""`net/ipv4/conf/e0.10/arp_ignore` is `net.ipv4.conf.e0/10.arp_ignore` (procps)."""
_IRRELEVANT = ("icmp_echo_ignore_all", "ip_nonlocal_bind", "tcp_l3mdev_accept", "udp_l3mdev_accept", "vs")
