"""SA205 to SA207, SA218: what the files and daemons of a node will make of its sysctls. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from strictarp.arp.facts import Host
from strictarp.doctor.check import Severity, Sighting
from strictarp.doctor.node.knowing import (
    in_force,
    is_kept,
    local_vips,
    node_check,
    on,
    restart_proxy,
    strict_by_setting,
    uplinks,
)
from strictarp.doctor.node.scene import Scene
from strictarp.doctor.node.sysctld import number, written
from strictarp.doctor.node.view import NodeView, SysctlLine
from strictarp.sysctl.effective import hides_vips

_KEYS = ("arp_ignore", "arp_announce")
_GRACE = 2.0
"""Seconds that a file may be younger than who reads it: it is written before, its time is rounded."""


def winners(view: NodeView, lines: tuple[SysctlLine, ...], *, late: bool) -> Mapping[str, SysctlLine]:
    """path below /proc/sys → the line that sets it in the end, of what decides about strictARP."""
    names = ("all", *(device.name for device in view.host.devices))
    paths = [f"net/ipv4/conf/{name}/{key}" for name in names for key in _KEYS]
    return written(lines, paths, late=late)


def after(host: Host, lines: Mapping[str, SysctlLine]) -> Host:
    """The host when the lines have been applied."""
    sysctls = {name: dict(values) for name, values in host.sysctls.items()}
    for path, line in lines.items():
        name, key = path.split("/")[3:]
        value = number(line)
        if value is not None:
            sysctls.setdefault(name, {})[key] = value
    return msgspec.structs.replace(host, sysctls=sysctls)


def defeating(view: NodeView, device: str, lines: Mapping[str, SysctlLine]) -> Iterator[SysctlLine]:
    """The lines because of which strictARP would not be in force on an interface, once all are applied."""
    if in_force(after(view.host, lines), device):
        return
    for key in _KEYS:
        for name in (device, "all"):
            line = lines.get(f"net/ipv4/conf/{name}/{key}")
            if line is not None and not _is_strict(key, number(line)) and not _harmless(line, name):
                yield line


def _is_strict(key: str, value: int | None) -> bool:
    if value is None:
        return True
    return hides_vips(value) if key == "arp_ignore" else value == 2


def _harmless(line: SysctlLine, name: str) -> bool:
    """An interface's 0 leaves to conf.all what is to be."""
    return name != "all" and number(line) == 0


def culprits(view: NodeView, device: str) -> list[SysctlLine]:
    """Lines of sysctl.d and of tuned's profile that leave an interface without strictARP."""
    plans = [winners(view, view.lines, late=late) for late in (False, True)]
    plans.append(winners(view, view.tuned, late=True))
    return list(dict.fromkeys(line for lines in plans for line in defeating(view, device, lines)))


def _bomb(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    if is_kept(view):
        return
    seen: dict[SysctlLine, list[str]] = {}
    for device in _strict_uplinks(view, scene):
        for late in (False, True):
            for line in defeating(view, device, winners(view, view.lines, late=late)):
                devices = seen.setdefault(line, [])
                if device not in devices:
                    devices.append(device)
    for line, devices in seen.items():
        when = "`sysctl --system`" if line.late else "boot, `sysctl --system` or restart of systemd-sysctl"
        yield Sighting(
            on(view),
            f"{line.where} sets {dotted_name(line.path)} = {line.value} at the next {when}; strictARP is in "
            f"force on {', '.join(devices)}",
            f"remove line {line.line} from {line.file} (or name the same key with the value of strictARP in "
            "/etc/sysctl.d/99-zz-strictarp.conf)",
        )


def _strict_uplinks(view: NodeView, scene: Scene) -> list[str]:
    return [device for device in uplinks(view, scene) if in_force(view.host, device)]


def dotted_name(path: str) -> str:
    """`net.ipv4.conf.all.arp_ignore`; dots of an interface's name are written as slashes."""
    return path.translate(str.maketrans("./", "/."))


def _tuned(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    if is_kept(view):
        return
    lines = winners(view, view.tuned, late=True)
    found = [line for device in _strict_uplinks(view, scene) for line in defeating(view, device, lines)]
    for line in dict.fromkeys(found):
        yield Sighting(
            on(view),
            f"tuned's active profile sets {dotted_name(line.path)} = {line.value} ({line.where})",
            f"remove {dotted_name(line.path)} from [sysctl] in a profile of your own that includes this one, "
            "and `tuned-adm profile` it",
        )


def _unkept(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    strict = _strict_uplinks(view, scene)
    if not strict or not local_vips(view, scene) or strict_by_setting(view) is not False:
        return
    plain = msgspec.structs.replace(view.host, sysctls={})
    lost = [
        device
        for device in strict
        if not in_force(after(plain, winners(view, view.lines, late=False)), device)
        and not in_force(after(plain, winners(view, view.tuned, late=True)), device)
    ]
    if lost:
        values = " ".join(f"{key}={view.host.own(key, 'all')}" for key in _KEYS)
        yield Sighting(
            on(view),
            f"strictARP is in force on {', '.join(lost)} (conf.all: {values}), and neither a file of "
            "sysctl.d nor "
            "the proxy's setting would set it again",
            "ipvs.strictARP: true in the proxy's configuration; or `printf 'net.ipv4.conf.all.arp_ignore = "
            "1\\n"
            "net.ipv4.conf.all.arp_announce = 2\\n' > /etc/sysctl.d/99-zz-strictarp.conf`",
        )


def _not_read_yet(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    if not local_vips(view, scene):
        return
    for setting in view.proxy_settings:
        readers = [each for each in view.runs(setting.owner) if each.started]
        if setting.owner == "kubelet" or not setting.strict or not readers:
            continue  # the kubelet starts a static pod anew by itself
        if max(each.started for each in readers) + _GRACE < setting.changed:
            since = int(setting.changed - max(each.started for each in readers))
            yield Sighting(
                on(view),
                f"{setting.file} says strictARP, and was changed {since} s after {setting.owner} started, "
                "which reads "
                "it only then",
                restart_proxy(view),
            )


CHECKS = (
    node_check(
        "SA205",
        "strictARP is lost when the node starts again",
        Severity.WARNING,
        why="Somebody has set the sysctls by hand: after a reboot all nodes answer for Service IPs again.",
        look=_unkept,
    ),
    node_check(
        "SA206",
        "A file of sysctl.d undoes strictARP",
        Severity.WARNING,
        why="kube-proxy sets the sysctls once when it starts: whatever applies sysctl.d later (a package "
        "upgrade, "
        "Cilium's agent, an administrator) switches strictARP off until kube-proxy starts again.",
        look=_bomb,
    ),
    node_check(
        "SA207",
        "tuned undoes strictARP",
        Severity.WARNING,
        why="tuned applies its profile whenever it starts or its profile is chosen, after kube-proxy has "
        "set strictARP.",
        look=_tuned,
    ),
    node_check(
        "SA218",
        "The proxy runs with an older setting than its file has",
        Severity.WARNING,
        why="The setting is read only at the start, so strictARP is not in force yet on this node.",
        look=_not_read_yet,
    ),
)
