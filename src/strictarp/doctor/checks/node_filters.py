"""SA401 to SA404, SA415, SA416: rules of nftables, arptables and tc that ARP meets. Pure.

Where a rule sits decides whom it blinds (Linux net/core/dev.c): family netdev, family bridge and tc come
before packet sockets, so a speaker is deaf; the hook input of family arp comes after them, so only the kernel
is silent, and a speaker's own answers pass it by.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import msgspec

from strictarp.arp.announcing import solicit
from strictarp.arp.decision import Rule
from strictarp.arp.explaining import assumed_asker
from strictarp.arp.facts import Host, dotted
from strictarp.arp.nft import NO_RULES, Ruleset
from strictarp.doctor.check import Severity, Sighting
from strictarp.doctor.node import tables
from strictarp.doctor.node.knowing import (
    answerable,
    asked,
    entries,
    enumerated,
    node_check,
    on,
    uplinks,
    vip_subject,
)
from strictarp.doctor.node.scene import Scene
from strictarp.doctor.node.view import NodeView

OURS = "strictarp"
"""Our own tables begin with it: those of scope `vips` are to drop requests for Service IPs."""
_FILTERED = (Rule.FILTERED_INPUT, Rule.FILTERED_OUTPUT)


def _only(host: Host, families: Collection[str]) -> Host:
    """The host with none but foreign tables of these families."""
    kept = [each for each in host.nft.tables if each.family in families and not each.name.startswith(OURS)]
    return msgspec.structs.replace(host, nft=Ruleset(tuple(kept)))


def _is_filtered(host: Host, device: str, target: int) -> bool:
    """A request for it is dropped on its way, or the answer is, wherever it comes in."""
    return any(each.rule in _FILTERED for nic in entries(host, device) for each in asked(host, nic, target))


def _silencing(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    host = _only(view.host, ("arp",))
    for device in uplinks(view, scene) if host.nft.tables else ():
        dropped = [vip for vip in scene.vips if _is_filtered(host, device, vip)]
        if dropped:
            yield Sighting(
                on(view, device),
                f"{_names(view, ('arp',))} drops requests for {enumerated(dropped)}, or the kernel's answers",
                "nothing, if it is there in place of strictARP; else `nft -a list ruleset arp` and "
                "`nft delete rule arp TABLE CHAIN handle N`",
            )


def _names(view: NodeView, families: Collection[str]) -> str:
    """The tables that it may be, and how many packets they have counted."""
    found = [
        each
        for each in view.filters
        if each.kind == "arptables" or each.name.split(" ")[0] in families
        if not each.name.split(" ")[-1].startswith(OURS)
    ]
    packets = sum(int(each) for one in found for each in re.findall(r"\bpackets (\d+)", one.text))
    names = ", ".join(f"{each.kind} {each.name}" for each in found) or "a rule"
    return f"{names} (counted {packets} packets)" if packets else names


def _deafening(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    host = _only(view.host, ("netdev", "bridge"))
    for device in uplinks(view, scene) if host.nft.tables else ():
        dropped = [vip for vip in scene.vips if _is_filtered(host, device, vip)]
        if dropped:
            yield Sighting(
                on(view, device),
                f"{_names(view, ('netdev', 'bridge'))} drops requests for {enumerated(dropped)} before any "
                "program sees them",
                "move the rule to the hook input of a table of family arp, or `nft -a list ruleset` and "
                "delete it",
                tuple(vip_subject(vip) for vip in sorted(dropped)),
            )
    for each in view.filters:
        if each.kind == "tc" and not each.unread:
            device = each.name.split(" ")[0]
            yield Sighting(
                on(view, device),
                f"a tc filter for ARP stops frames at ingress: {each.text.rpartition('filter ')[2].strip()}",
                f"tc filter show dev {device} ingress; tc filter del dev {device} ingress protocol arp",
            )


def _cutting_off(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    host = view.host
    bare = msgspec.structs.replace(host, nft=NO_RULES)
    for address, device in answerable(view, scene) if host.nft.tables else ():
        heard = any(each.answered for nic in entries(bare, device) for each in asked(bare, nic, address))
        if heard and _is_filtered(host, device, address):
            yield Sighting(
                on(view, device),
                f"{_names(view, ('arp', 'netdev', 'bridge'))} drops requests for {dotted(address)}, an "
                "address "
                "of this interface, or their answers",
                "`nft -a list ruleset arp` (or `arptables -L -n -v`), and let requests for the node's own "
                "addresses "
                "through",
            )


def _muting(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    host = view.host
    for device in uplinks(view, scene) if host.nft.tables else ():
        source = next((each.local for each in host.on_device.get(device, ())), 0)
        target = assumed_asker(host, device, source)
        if source and target and solicit(host, device, target, source) is None:
            yield Sighting(
                on(view, device),
                f"{_names(view, ('arp',))} drops the node's own requests on {device} (for {dotted(target)})",
                "`nft -a list ruleset arp` (or `arptables -L OUTPUT -n -v`), and delete the rule",
            )


def _unread(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    for each in view.filters:
        if each.unread:
            yield Sighting(
                on(view),
                f"{each.kind} {each.name} may drop or change ARP, and was not understood: {each.unread}",
                f"look yourself: {_LOOKS.get(each.kind, 'nft list ruleset')}",
            )


_LOOKS = {"arptables": "arptables -L -n -v", "tc": "tc filter show"}


def _bridged(view: NodeView, scene: Scene) -> Iterator[Sighting]:
    legacy = [each for each in view.filters if each.kind == "arptables" and "FORWARD" in each.text]
    if legacy and view.numbers.get(tables.BRIDGE_ARPTABLES) == 1:
        yield Sighting(
            on(view),
            f"{tables.BRIDGE_ARPTABLES}=1, and arptables has rules in FORWARD: "
            f"{'; '.join(line for line in legacy[0].text.splitlines() if 'FORWARD' in line)}",
            f"sysctl -w {tables.BRIDGE_ARPTABLES}=0, or arptables -F FORWARD",
        )


CHECKS = (
    node_check(
        "SA401",
        "A foreign rule keeps the kernel from answering for Service IPs",
        Severity.INFO,
        why="It does what strictARP does, on this node, for these IPs; a speaker with a socket of its own "
        "(MetalLB, "
        "strictarp) still sees the requests and answers, while an IP bound on an interface (kube-vip) is "
        "silent.",
        look=_silencing,
    ),
    node_check(
        "SA402",
        "A rule drops requests for Service IPs before the speaker sees them",
        Severity.ERROR,
        why="netdev, bridge and tc rules come before packet sockets: when this node owns the IP nobody "
        "answers.",
        look=_deafening,
    ),
    node_check(
        "SA403",
        "A rule drops requests for the node's own address",
        Severity.ERROR,
        why="The node cannot be found in its subnet any more once its neighbours' entries have aged.",
        look=_cutting_off,
    ),
    node_check(
        "SA404",
        "Rules that meet ARP were not understood",
        Severity.WARNING,
        why="What they drop is not known, so nothing that is said about answers of this node is certain.",
        look=_unread,
    ),
    node_check(
        "SA415",
        "arptables filters ARP between the ports of bridges",
        Severity.WARNING,
        why="What bridges forward, such as requests of pods and virtual machines, is dropped or changed.",
        look=_bridged,
    ),
    node_check(
        "SA416",
        "A rule drops the node's own ARP requests",
        Severity.ERROR,
        why="The node finds neither its gateway nor the other nodes once their entries have aged.",
        look=_muting,
        causes=("SA403",),
    ),
)
