"""A node's view of itself, read as root: by netlink, from /proc, /sys and files, by nft and tc. Thin."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from strictarp.arp import collecting
from strictarp.arp.facts import Device, Host
from strictarp.arp.facts_text import FactsText, text_of
from strictarp.arp.frames import mac_text
from strictarp.doctor.node import agents, daemons, filters, proxy_files, sysctld, tables
from strictarp.doctor.node.reading import Root, output_of
from strictarp.doctor.node.view import (
    Agent,
    Filter,
    Managed,
    Nic,
    NodeView,
    ProxySetting,
    SysctlLine,
    VrrpInstance,
)
from strictarp.errors import UserError
from strictarp.netlink.messages import MalformedMessage, Refusal
from strictarp.netlink.qdisc import FILTERING, encode_dump_qdiscs, parse_qdisc
from strictarp.netlink.socket import NETLINK_ROUTE, DumpInterrupted, Netlink
from strictarp.sysctl import files
from strictarp.sysctl.files import SysctlError

_IFF_PROMISC = 0x100
_TUNED_FOLDERS = ("/etc/tuned", "/etc/tuned/profiles", "/usr/lib/tuned", "/usr/lib/tuned/profiles")
_NET = Path("/proc/thread-self/net")
"""The namespace of this thread; the node's own, also in a pod with the host's network."""


async def collect(root_folder: Path, node: str) -> NodeView:
    """The view, of the network namespace that this process is in. Raises UserError."""
    root = Root(root_folder)
    try:
        host = await collecting.collect()
        filtering = await _filtering()
    except (OSError, SysctlError, Refusal, DumpInterrupted, MalformedMessage) as error:
        raise UserError(f"cannot read this node: {error}; is /proc mounted, and is this Linux?") from error
    indexes = _indexes(host)
    found = tuple(_filters(root, [name for name, index in indexes.items() if index in filtering]))
    running = tuple(_agents(root))
    return NodeView(
        node=node,
        kernel=os.uname().release,
        taken=time.time(),
        facts=_facts(host, found),
        nics=tuple(_nics(root, host)),
        lines=sysctld.lines_of(_sysctl_files(root)),
        tuned=_tuned(root) if any(each.name == "tuned" for each in running) else (),
        agents=running,
        proxy_settings=tuple(_proxy_settings(root)),
        keepalived=tuple(_keepalived(root)),
        networkd=tuple(_networkd(root, indexes)),
        filters=found,
        numbers=_numbers(),
        ipvs=_ipvs(root),
        blind=root.blind,
    )


def _facts(host: Host, found: tuple[Filter, ...]) -> FactsText:
    unread = tuple(each.name for each in found if each.kind == "nft" and each.unread)
    return text_of(host, nft=filters.readable(found), nft_tables=unread)


def _sysctl_files(root: Root) -> Iterator[sysctld.File]:
    paths = [path for folder in sysctld.FOLDERS for path in root.glob(f"{folder}/*.conf")]
    for path in [*paths, sysctld.LAST]:
        text = root.read(path)
        if text is not None or path != sysctld.LAST:
            # A link to /dev/null is no file: it masks those of its name.
            yield sysctld.File(path, text or "")


def _agents(root: Root) -> Iterator[Agent]:
    boot = agents.boot_time(root.read("/proc/stat") or "")
    ticks = os.sysconf("SC_CLK_TCK")
    for pid, argv, stat in root.processes():
        found = agents.recognise(argv, pid, agents.started_at(stat, boot, ticks))
        if found is not None:
            yield found


def _proxy_settings(root: Root) -> Iterator[ProxySetting]:
    for place in proxy_files.PLACES:
        for path in root.glob(place.pattern):
            text = root.read(path)
            told = text and proxy_files.read_setting(text, place, file=path, changed=root.changed(path))
            if told:
                yield told


def _tuned(root: Root) -> tuple[SysctlLine, ...]:
    """Lines of the active profile and those that it includes, the innermost first."""
    read: dict[str, str] = {}
    waiting = (root.read("/etc/tuned/active_profile") or "").split()
    while waiting:
        name = waiting.pop()
        paths = [f"{folder}/{name}/tuned.conf" for folder in _TUNED_FOLDERS]
        path = next((each for each in paths if root.exists(each)), "")
        if "/" in name or not path or path in read:
            continue
        read[path] = root.read(path) or ""
        waiting += daemons.tuned_includes(read[path])
    return daemons.tuned_lines(reversed(read.items()))


def _keepalived(root: Root) -> Iterator[VrrpInstance]:
    for path in (*root.glob("/etc/keepalived/*.conf"), *root.glob("/etc/keepalived/*/*.conf")):
        yield from daemons.vrrp_instances(root.read(path) or "")


def _networkd(root: Root, indexes: Mapping[str, int]) -> Iterator[Managed]:
    for name, index in indexes.items():
        paths = daemons.network_files(root.read(f"/run/systemd/netif/links/{index}") or "")
        if paths:
            texts = [root.read(each) or "" for each in paths]
            yield Managed(name, paths[0], daemons.keep_configuration(texts))


def _indexes(host: Host) -> Mapping[str, int]:
    """Device → index."""
    found = {}
    for device in _own_devices(host):
        with contextlib.suppress(OSError):
            found[device.name] = socket.if_nametoindex(device.name)
    return found


def _own_devices(host: Host) -> Iterator[Device]:
    """All but the ends of containers' cables, which may be many: those have no address."""
    for device in host.devices:
        if device.kind != "veth" or device.name in host.on_device:
            yield device


def _nics(root: Root, host: Host) -> Iterator[Nic]:
    for device in _own_devices(host):
        folder = f"/sys/class/net/{device.name}"
        if (root.read(f"{folder}/address") or "").strip() != mac_text(device.mac):
            continue  # sysfs may show another namespace
        flags = root.read(f"{folder}/flags") or ""
        yield Nic(
            device.name,
            driver=root.link_name(f"{root.real(folder)}/device/driver"),
            wireless=root.exists(f"{folder}/wireless") or root.exists(f"{folder}/phy80211"),
            promiscuous=tables.has_flag(flags, _IFF_PROMISC),
            suppresses=(root.read(f"{folder}/brport/neigh_suppress") or "").strip() == "1",
        )


async def _filtering() -> frozenset[int]:
    """Indexes of links that have a place for tc filters: only there tc need be asked."""
    async with Netlink(NETLINK_ROUTE) as route:
        found = [parse_qdisc(message) for message in await route.dump(encode_dump_qdiscs())]
    return frozenset(each.index for each in found if each.kind in FILTERING)


def _filters(root: Root, filtering: Iterable[str]) -> Iterator[Filter]:
    for family in ("arp", "netdev", "bridge"):
        try:
            yield from filters.nft_filters(output_of("nft", "list", "ruleset", family))
        except OSError as error:
            if "not supported" not in str(error.strerror):  # a kernel without nftables has no rules
                why = f"nft list ruleset {family}: {error.strerror}; root and nft are needed"
                root.blind["nftables"] = why
    yield from _arptables(root)
    for device in filtering:
        try:
            found = filters.tc_filter(output_of("tc", "filter", "show", "dev", device, "ingress"), device)
        except OSError as error:
            root.blind["tc"] = f"tc filter show dev {device}: {error.strerror}; tc of iproute2 is needed"
            continue
        if found is not None:
            yield found


def _arptables(root: Root) -> Iterator[Filter]:
    """Rules of legacy arptables: its table is in the kernel as soon as anybody has used it."""
    try:
        names = (_NET / "arp_tables_names").read_text(encoding="ascii").split()
    except OSError:
        return
    if not names:
        return
    for program in ("arptables-legacy-save", "arptables-save"):
        try:
            found = filters.arptables_filter(output_of(program))
        except OSError as error:
            why = error.strerror
            continue
        if found is not None:
            yield found
        return
    root.blind["arptables"] = f"its table is in use, and cannot be listed: {why}; CAP_NET_RAW is needed"


def _numbers() -> Mapping[str, int]:
    found = {}
    for name in tables.NUMBERS:
        try:
            found[name] = files.read_int(name)
        except SysctlError:
            continue
    with contextlib.suppress(OSError, ValueError):
        found[tables.NEIGHBOURS] = tables.neighbours((_NET / "stat/arp_cache").read_text(encoding="ascii"))
    return found


def _ipvs(root: Root) -> str:
    if root.exists("/sys/module/ip_vs") or (_NET / "ip_vs").exists():
        return "loaded"
    release = os.uname().release
    names = (root.read(f"/lib/modules/{release}/{file}") for file in ("modules.dep", "modules.builtin"))
    texts = [text for text in names if text is not None]
    if not texts:
        return ""
    return "loadable" if any("/ip_vs.ko" in text for text in texts) else "missing"


def to_json(view: NodeView) -> bytes:
    """The view as a document of one line."""
    return msgspec.json.encode(view)
