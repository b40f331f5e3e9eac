"""`ip link` and `bridge`, carried out on a host under construction. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from strictarp.arp.building import Builder
from strictarp.arp.facts import Device
from strictarp.arp.frames import parse_mac
from strictarp.arp.iproute import abbreviated
from strictarp.arp.unsupported import Unsupported

Words = list[str]
MODES = {"bond": "balance-rr", "ipvlan": "l3", "macvlan": "vepa"}
"""What `ip link add` makes without a mode."""
_KINDS = ("dummy", "ifb", "bridge", "vlan", "macvlan", "ipvlan", "bond", "vrf", "veth")
_VERBS = {"add": "add", "set": "set", "delete": "delete", "show": "show", "list": "show"}
_BOND_MODES = dict(
    enumerate(
        ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
    )
)
_WITHOUT_EFFECT = frozenset(
    (
        *("promisc", "multicast", "allmulticast", "txqlen", "txqueuelen", "qlen", "alias", "group"),
        *("addrgenmode", "numtxqueues", "numrxqueues", "gso_max_size", "index"),
    )
)
_HARMLESS = {
    "bridge": frozenset(
        (
            *("forward_delay", "hello_time", "max_age", "ageing_time", "priority", "mcast_snooping"),
            *("vlan_filtering", "vlan_default_pvid", "nf_call_iptables", "nf_call_arptables"),
        )
    ),
    "bond": frozenset(("miimon", "updelay", "downdelay", "xmit_hash_policy", "lacp_rate")),
}
"""Options that decide nothing about the frames of a case."""
_SLAVE_HARMLESS = frozenset(
    ("cost", "priority", "learning", "flood", "hairpin", "fastleave", "mcast_flood", "guard", "isolated")
)


def link(builder: Builder, word: str, words: Words) -> None:
    """`ip link add|set|del`."""
    verb = abbreviated(word, _VERBS)
    if verb == "delete":
        rest = words[1:] if words[:1] == ["dev"] else words
        builder.remove_device(rest[0])
    elif verb == "set":
        _set(builder, words)
    elif verb == "add":
        _add(builder, words)
    elif verb != "show":
        raise Unsupported(f"ip link {word}")


class _Asked(msgspec.Struct):
    """What `ip link` was told. changes: fields of `Device`."""

    name: str = ""
    new_name: str = ""
    kind: str = ""
    changes: dict[str, object] = {}
    options: Words = []


def _parsed(words: Words) -> _Asked:
    asked = _Asked()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("up", "down"):
            asked.changes["up"] = word == "up"
        elif word in ("nomaster", "novrf"):
            asked.changes["master"] = ""
        elif word in _VALUES:
            field, read = _VALUES[word]
            asked.changes[field] = read(rest.pop(0))
        elif word == "name":
            asked.new_name = rest.pop(0)
        elif word == "type":
            asked.kind, asked.options = rest.pop(0), rest
            break
        elif word in _WITHOUT_EFFECT:
            rest.pop(0)
        elif word in ("netns", "peer", "xdp", "vf", "protodown", "state", "mode"):
            raise Unsupported(f"ip link: {word!r}")
        else:
            asked.name = rest.pop(0) if word == "dev" else word
    return asked


def _on(text: str) -> bool:
    if text not in ("on", "off"):
        raise Unsupported(f"ip link: {text!r} where on or off is expected")
    return text == "on"


_VALUES: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "arp": ("arp", _on),
    "carrier": ("carrier", _on),
    "master": ("master", str),
    "vrf": ("master", str),
    "mtu": ("mtu", int),
    "address": ("mac", parse_mac),
    "link": ("lower", str),
}


def _set(builder: Builder, words: Words) -> None:
    asked = _parsed(words)
    if not asked.name:
        raise Unsupported("ip link set: no device")
    if asked.new_name:
        raise Unsupported("ip link set: 'name'")
    if asked.kind:
        _type_options(builder, builder.device(asked.name), asked.kind, asked.options)
    if asked.changes:
        builder.change_device(asked.name, **asked.changes)


def _add(builder: Builder, words: Words) -> None:
    """`ip link add [link LOWER] [name] NAME [...] type KIND [...]`."""
    asked = _parsed(words)
    name = asked.new_name or asked.name
    if asked.kind not in _KINDS or not name:
        raise Unsupported(f"ip link add: type {asked.kind or 'missing'!r}")
    if asked.kind == "veth":
        _add_veth(builder, name, asked)
        return
    options = _options_of(asked.kind, asked.options)
    lower = builder.device(str(asked.changes.pop("lower"))) if "lower" in asked.changes else None
    mac = builder.spare_mac() if lower is None or asked.kind == "macvlan" else lower.mac
    device = Device(
        name,
        mac,
        kind=asked.kind,
        up=False,
        arp=asked.kind not in ("dummy", "ifb"),
        lower=lower.name if lower else "",
        mode=MODES.get(asked.kind, ""),
    )
    builder.add_device(msgspec.structs.replace(device, **options))
    builder.change_device(name, **asked.changes)


def _add_veth(builder: Builder, name: str, asked: _Asked) -> None:
    """A cable within the host: what one end sends arrives at the other, which no single frame needs."""
    peer = asked.options
    if peer[:1] == ["peer"]:
        peer = peer[1:]
    other = peer[peer.index("name") + 1] if "name" in peer else "".join(peer[:1])
    if "netns" in peer:
        builder.add_device(Device(name, builder.spare_mac(), up=False))
        builder.change_device(name, **asked.changes)
        return
    for end in (name, other or "veth0"):
        builder.add_device(Device(end, builder.spare_mac(), up=False, carrier=False))
    builder.change_device(name, **asked.changes)


def _options_of(kind: str, options: Words) -> dict[str, object]:
    """Fields of `Device` from what stands behind `type KIND`."""
    found: dict[str, object] = {}
    rest = list(options)
    while rest:
        word = rest.pop(0)
        if (kind, word) in _OPTIONS:
            field, read = _OPTIONS[kind, word]
            found[field] = read(rest.pop(0))
        elif kind == "ipvlan" and word in ("bridge", "private", "vepa"):
            continue
        elif (kind, word, *rest[:1]) == ("bridge", "stp_state", "0") or word in _HARMLESS.get(kind, ()):
            rest.pop(0)
        else:
            raise Unsupported(f"ip link type {kind}: {word!r}")
    return found


def _bond_mode(text: str) -> str:
    return _BOND_MODES[int(text)] if text.isdigit() and int(text) in _BOND_MODES else text


_OPTIONS: Mapping[tuple[str, str], tuple[str, Callable[[str], object]]] = {
    ("vlan", "id"): ("vlan", int),
    ("vrf", "table"): ("table", int),
    ("macvlan", "mode"): ("mode", str),
    ("ipvlan", "mode"): ("mode", str),
    ("bond", "mode"): ("mode", _bond_mode),
}


def _type_options(builder: Builder, device: Device, kind: str, options: Words) -> None:
    """`ip link set DEV type KIND ...`."""
    if kind == "bridge_slave":
        _slave_options(builder, device, options)
    elif kind == "bond" and options[:1] in (["active_slave"], ["primary"]):
        builder.prefer_slave(device.name, options[1])
    elif kind == "bond_slave":
        raise Unsupported(f"ip link set type bond_slave: {' '.join(options)!r}")
    else:
        builder.change_device(device.name, **_options_of(kind, options))


def _slave_options(builder: Builder, port: Device, options: Words) -> None:
    for word, value in zip(options[::2], options[1::2], strict=True):
        if word == "state":
            builder.change_device(port.name, active=value in ("3", "forwarding"))
        elif word not in _SLAVE_HARMLESS:
            raise Unsupported(f"ip link set type bridge_slave: {word!r}")


def bridge(builder: Builder, words: Words, given: str) -> None:
    """`bridge link set dev PORT state N ...`; of forwarding entries and VLANs only what is shown."""
    if words[:2] == ["link", "set"]:
        rest = words[2:]
        at = rest.index("dev")
        options = [*rest[:at], *rest[at + 2 :]]
        _slave_options(builder, builder.device(rest[at + 1]), options)
    elif words[1:2] not in (["show"], []):
        raise Unsupported(f"bridge {' '.join(words[:2])}")
