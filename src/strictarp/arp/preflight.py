"""What strictARP would change on a host, before anybody switches it. Pure.

For each interface that requests can arrive on and each local address or prefix: is it answered now, and would
it be afterwards? Both are computed by the same model that is held against real kernels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import msgspec

from strictarp.arp.announcing import solicit
from strictarp.arp.explaining import assumed_asker
from strictarp.arp.facts import Device, Host, dotted
from strictarp.arp.losses import Asked, Evidence, Loss, answered, is_enslaved, losses_on
from strictarp.arp.switching import Scope, switched
from strictarp.arp.uplinks import uplinks_of
from strictarp.sysctl.effective import strictarp_in_force


class SenderChange(msgspec.Struct, frozen=True):
    """Requests out of `interface` for packets from `source` carry another sender; count: of VIPs."""

    interface: str
    source: str
    before: str
    after: str
    count: int = 1


class Fewer(msgspec.Struct, frozen=True):
    """Interfaces in one subnet that answer for an address, before and after."""

    target: str
    before: tuple[str, ...]
    after: tuple[str, ...]


class Inherited(msgspec.Struct, frozen=True):
    """What network namespaces that are made afterwards, those of pods, begin with."""

    arp_ignore: int
    arp_announce: int


class Report(msgspec.Struct, frozen=True):
    """ineffective: interfaces on which strictARP would not be in force, and why.

    unnoticed: addresses that an address probe (RFC 5227) on their own link would no longer find in use.
    inherited: what later pods begin with, None where nothing changes for them.
    """

    scope: Scope
    interfaces: tuple[str, ...]
    losses: tuple[Loss, ...]
    fewer: tuple[Fewer, ...]
    senders: tuple[SenderChange, ...]
    ineffective: tuple[str, ...]
    unnoticed: int = 0
    inherited: Inherited | None = None

    @property
    def harmful(self) -> tuple[Loss, ...]:
        """Losses that somebody will notice."""
        return tuple(each for each in self.losses if each.evidence in (Evidence.SEEN, Evidence.LIKELY))


def receivers(host: Host) -> tuple[Device, ...]:
    """Interfaces whose kernel looks at ARP: up, with ARP, with a MAC, and not a port of a bridge or bond."""
    return tuple(
        device
        for device in host.devices
        if device.up and device.arp and any(device.mac) and not is_enslaved(host, device)
    )


def preflight(
    host: Host, scope: Scope, uplinks: Collection[str] = (), *, asked: Asked | None = None
) -> Report:
    """What changes when strictARP is switched on in this scope.

    uplinks: for the scopes `uplinks` and `vips`; without any, `uplinks_of`. asked: as heard.
    """
    chosen = tuple(uplinks) or uplinks_of(host)
    after = switched(host, scope, chosen)
    devices = receivers(host)
    covered = devices if scope is Scope.ALL else tuple(each for each in devices if each.name in chosen)
    losses = [loss for device in devices for loss in losses_on(host, after, device.name, asked or {})]
    return Report(
        scope=scope,
        interfaces=tuple(device.name for device in covered),
        losses=tuple(losses),
        fewer=tuple(_fewer(host, after, devices)),
        senders=tuple(change for device in covered for change in _sender_changes(host, after, device.name)),
        ineffective=() if scope is Scope.VIPS else tuple(_ineffective(after, covered)),
        unnoticed=len({address for device in devices for address in _unnoticed(host, after, device.name)}),
        inherited=_inherited(host, after),
    )


def _unnoticed(host: Host, after: Host, device: str) -> Iterator[int]:
    """Service IPs share one fate, and are judged by the first of them in a subnet."""
    own = [each for each in host.on_device.get(device, ()) if each.prefix < 32]
    vips = [vip for vip in sorted(host.vips) if any(each.covers(vip) for each in own)]
    if vips and _probe_is_lost(host, after, device, vips[0]):
        yield from vips
    for address, prefix, _ in host.targets:
        on_link = prefix == 32 and any(each.covers(address) for each in own)
        if on_link and _probe_is_lost(host, after, device, address):
            yield address


def _probe_is_lost(host: Host, after: Host, device: str, target: int) -> bool:
    return answered(host, device, target, 0) and not answered(after, device, target, 0)


def _inherited(host: Host, after: Host) -> Inherited | None:
    """A new namespace takes its `all` from the first one, unless devconf_inherit_init_net says otherwise.

    After Linux net/ipv4/devinet.c devinet_init_net. Seen from another namespace nothing can be told.
    """
    if host.inherit not in (0, 1, 3):
        return None
    values = {key: after.own(key, "all") for key in ("arp_ignore", "arp_announce")}
    same = all(host.own(key, "all") == value for key, value in values.items())
    return None if same else Inherited(**values)


def _fewer(host: Host, after: Host, devices: Sequence[Device]) -> Iterator[Fewer]:
    """Addresses for which several interfaces of one subnet answer, and fewer afterwards."""
    for address, prefix, holder in host.targets:
        if prefix != 32:
            continue
        sharing = [each.name for each in devices if _shares(host, each.name, holder, address)]
        if len(sharing) < 2:
            continue
        asker = assumed_asker(host, sharing[0], address)
        before = tuple(name for name in sharing if answered(host, name, address, asker))
        later = tuple(name for name in sharing if answered(after, name, address, asker))
        if len(before) > 1 and len(later) < len(before):
            yield Fewer(dotted(address), before, later)


def _shares(host: Host, device: str, holder: str, address: int) -> bool:
    """The device is on the address's link: a prefix of it covers it, or it is a macvlan's parent or child."""
    if any(each.covers(address) and each.prefix < 32 for each in host.on_device.get(device, ())):
        return True
    lowers = {host.by_name[name].lower for name in (device, holder)}
    return device == holder or device in lowers or holder in lowers


def _sender_changes(host: Host, after: Host, device: str) -> Iterator[SenderChange]:
    vips = sorted(host.vips)
    sources = [address for address, prefix, _ in host.targets if prefix == 32]
    for source in [*sources, *vips[:1]]:
        target = assumed_asker(host, device, source)
        before, later = (_sender(each, device, target, source) for each in (host, after))
        if before != later:
            of_vips = source in vips[:1]
            shown = f"{len(vips)} Service IPs" if of_vips and len(vips) > 1 else dotted(source)
            yield SenderChange(device, shown, before, later, len(vips) if of_vips else 1)


def _sender(host: Host, device: str, target: int, source: int) -> str:
    """In words: who a request that leaves for `target` names as its sender."""
    sent = solicit(host, device, target, source)
    if sent is None:
        return "none, for nftables drops them"
    if sent.sender_ip == source:
        return "their own"
    return dotted(sent.sender_ip) if sent.sender_ip else "0.0.0.0, as in a probe"


def _ineffective(after: Host, covered: Sequence[Device]) -> Iterator[str]:
    for device in covered:
        verdict = strictarp_in_force(
            after.own("arp_ignore", "all"),
            after.own("arp_ignore", device.name),
            all_announce=after.own("arp_announce", "all"),
            dev_announce=after.own("arp_announce", device.name),
        )
        if not verdict:
            yield f"{device.name}: {verdict.reason}"
