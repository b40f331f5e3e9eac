"""Our own settings of the proxy: a second, optional file (`--settings`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from strictarp.arp.switching import Scope
from strictarp.errors import UserError
from strictarp.guard.settings import PROXY
from strictarp.guard.settings import Settings as GuardSettings
from strictarp.proxy.fields import Fields, check_kind, interface_name_fault, read_mapping
from strictarp.proxy.seam import DEVICE

API_VERSION = "strictarp.io/v1alpha1"
KIND = "ProxySettings"


class Liveness(msgspec.Struct, frozen=True):
    """Weight 0 for endpoints on nodes that fell silent.

    silence: how many hello intervals of the peer make silence. asks: questions a silent node's kernel gets.
    ask_interval: seconds between them; one interval after the last the node is given up.
    """

    enabled: bool = True
    silence: float = 3.5
    asks: int = 3
    ask_interval: float = 0.04


_LONGEST_HOLD = 30
"""The rules remember a connection for a minute."""


class Settings(msgspec.Struct, frozen=True):
    """All settings. Durations are seconds.

    namespace: where the Secret with the hello key is. drain_limit: longest time that a removed TCP endpoint
    may keep its connections. full_look: between two comparisons of everything with the kernel. open_forward:
    let answers of Services through others' nftables chains that drop forwarded packets by policy. hand_over:
    pass packets of connections that an IP's previous node has to that node, for a while after a planned move.
    hold_back: for so long they are dropped, not reset, until it is known who that is.
    vip_device: name of the dummy device that VIPs are bound on. guard: how strictARP is kept, if the
    configuration wants it.
    """

    namespace: str = "metallb-system"
    liveness: Liveness = Liveness()
    drain_limit: float = 900.0
    full_look: float = 60.0
    open_forward: bool = False
    hand_over: bool = True
    hold_back: float = 0.4
    vip_device: str = DEVICE
    guard: GuardSettings = GuardSettings(owner=PROXY)
    warnings: tuple[str, ...] = ()


def load(text: str, source: str) -> Settings:
    """Read settings from YAML or JSON. Raises UserError with one line a fault, as `config.load`."""
    faults: list[str] = []
    notes: list[str] = []
    raw = read_mapping(text, faults, notes)
    if faults:
        raise UserError("\n".join(faults))
    fields = Fields(raw, "", faults)
    check_kind(fields, API_VERSION, KIND)
    fields.ignore("metadata")
    liveness, default = fields.section("liveness"), Liveness()
    settings = Settings(
        namespace=fields.text("namespace", Settings().namespace),
        liveness=Liveness(
            enabled=liveness.boolean("enabled", default=True),
            silence=liveness.number("silenceIntervals", 0, 0, 100) or default.silence,
            asks=liveness.number("asks", default.asks, 1, 10),
            ask_interval=liveness.seconds("askInterval", default.ask_interval),
        ),
        drain_limit=fields.seconds("drainLimit", Settings().drain_limit),
        full_look=fields.seconds("fullLookPeriod", Settings().full_look),
        open_forward=fields.boolean("openForward", default=False),
        hand_over=fields.boolean("handOver", default=True),
        hold_back=fields.seconds("holdBack", Settings().hold_back, _LONGEST_HOLD),
        vip_device=_vip_device(fields.section("vipDevice")),
        guard=_guard(fields.section("strictARP")),
    )
    if reason := device_fault(settings.vip_device, settings.guard.scope):
        fields.fault("vipDevice.name", reason)
    if faults:
        raise UserError("\n".join(faults))
    notes += [f"{path}: unknown field, ignored" for path in fields.unknown()]
    return msgspec.structs.replace(settings, warnings=tuple(f"{KIND} {source}: {note}" for note in notes))


def device_fault(device: str, scope: Scope) -> str:
    """Why this device cannot go with this scope of strictARP, empty when it can."""
    if scope is not Scope.VIPS or device == DEVICE:
        return ""
    return f"strictARP's scope {scope} keeps the addresses of {DEVICE} silent, not those of {device}"


def _vip_device(fields: Fields) -> str:
    name = fields.text("name", DEVICE)
    if reason := interface_name_fault(name) or (f"{name} is taken" if name in ("lo", ".", "..") else ""):
        fields.fault("name", reason)
    return name


def _uplinks(fields: Fields) -> Iterator[str]:
    for where, name in fields.texts("uplinks"):
        if reason := interface_name_fault(name) or ("" if name else "a name of an interface is expected"):
            fields.fault(where, reason)
        yield name


def _guard(fields: Fields) -> GuardSettings:
    default = GuardSettings(owner=PROXY)
    return GuardSettings(
        scope=Scope(fields.choice("scope", tuple(Scope), default.scope)),
        uplinks=tuple(_uplinks(fields)),
        state=Path(fields.text("state", str(default.state))),
        owner=PROXY,
    )
