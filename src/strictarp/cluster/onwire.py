"""Who answers for the Service IPs before and after, and what that proves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Literal

import msgspec

from strictarp.arp.frames import parse_mac
from strictarp.arp.probing import Findings, Verdict
from strictarp.wire.naming import Known, Name, Who, name
from strictarp.wire.vips import IpAddress

Outcome = Literal["one", "several", "lost", "nobody", "foreign", "unseen"]
WRONG: frozenset[Outcome] = frozenset({"several", "lost"})
SHOWN = 5


class Heard(msgspec.Struct, frozen=True):
    """One asking for one Service IP.

    answerers: names for people. rivals: how many of them are nodes, or may be. own: this host has the
    address too, so its own kernel's answer is not heard. reason: why it could not be asked for, or empty.
    """

    ip: str
    answerers: tuple[str, ...] = ()
    rivals: int = 0
    own: bool = False
    reason: str = ""


class VipSeen(msgspec.Struct, frozen=True, rename="camel"):
    """One Service IP before and after; None: not asked for then.

    outcome: `one` answers; `several` nodes do; it is `lost`: answered before, and by nobody now; `nobody`
    answers, nor did before; a `foreign` host answers, which strictARP does not change; `unseen`: it cannot be
    asked for from here.
    """

    ip: str
    services: tuple[str, ...]
    before: tuple[str, ...] | None
    after: tuple[str, ...] | None
    outcome: Outcome
    reason: str = ""


def heard(findings: Iterable[Findings], known: Known) -> dict[str, Heard]:
    """What was answered, by IP."""
    return {each.ip: _heard(each, known) for each in findings}


def _heard(found: Findings, known: Known) -> Heard:
    if found.verdict is Verdict.UNKNOWN:
        return Heard(found.ip, reason=found.reason)
    names = [name(known, parse_mac(each.mac)) for each in found.answerers]
    rivals = sum(each.who not in (Who.FOREIGN, Who.VIRTUAL_ROUTER) for each in names)
    return Heard(found.ip, tuple(sorted(_shown(each) for each in names)), rivals, found.own_address)


def _shown(who: Name) -> str:
    """Of a node its name and, where known, the interface; of others all that is known."""
    told = " ".join(each for each in (who.node, who.interface) if each) if who.node and who.sure else who.text
    return f"{told} ({who.mac})" if told else who.mac


def compare(
    vips: Mapping[IpAddress, tuple[str, ...]],
    before: Mapping[str, Heard],
    after: Mapping[str, Heard],
) -> tuple[VipSeen, ...]:
    """Each IPv4 Service IP, before and after. The kernels answer for no IPv6 address on a dummy device."""
    return tuple(
        _compared(str(ip), services, before.get(str(ip)), after.get(str(ip)))
        for ip, services in vips.items()
        if isinstance(ip, IPv4Address)
    )


def _compared(ip: str, services: tuple[str, ...], was: Heard | None, now: Heard | None) -> VipSeen:
    last = now or was or Heard(ip, reason="not asked for")
    first = was.answerers if was is not None and not was.reason else None
    later = now.answerers if now is not None and not now.reason else None
    if last.reason:
        return VipSeen(ip, services, first, later, "unseen", last.reason)
    outcome, reason = _outcome(first or (), last)
    return VipSeen(ip, services, first, later, outcome, reason)


_DEAF = "this host has the address itself, and does not hear whether its own kernel answers"


def _outcome(before: tuple[str, ...], now: Heard) -> tuple[Outcome, str]:
    count = len(now.answerers)
    if now.rivals > 1:
        return "several", ""
    if count > now.rivals:
        return "foreign", "a host that is no node of the cluster answers"
    if count == 1:
        return "one", _DEAF if now.own else ""
    if now.own:
        return "unseen", _DEAF
    return ("lost", f"answered before by {', '.join(before)}") if before else ("nobody", "")


def wrong(vips: Iterable[VipSeen]) -> tuple[VipSeen, ...]:
    """Those that disprove strictARP, or that it would cut off."""
    return tuple(each for each in vips if each.outcome in WRONG)


def wrong_text(vips: Sequence[VipSeen]) -> str:
    """Those in words, empty without any."""
    bad = wrong(vips)
    told = [_wrong(each) for each in bad[:SHOWN]]
    more = [f"and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    return "; ".join((*told, *more))


def _wrong(vip: VipSeen) -> str:
    whose = f"{vip.ip} ({', '.join(vip.services)})"
    if vip.outcome == "lost":
        return f"nobody answers for {whose} any more; {vip.reason}"
    return f"{whose} is answered by {', '.join(vip.after or ())}"


def summary(vips: Sequence[VipSeen]) -> str:
    """What the wire says, in words; empty where nothing was asked for."""
    asked = [each for each in vips if each.outcome != "unseen"]
    if not asked:
        return ""
    counts = {outcome: sum(each.outcome == outcome for each in asked) for outcome in _WORDS}
    parts = [words.format(ips(count)) for outcome, words in _WORDS.items() if (count := counts[outcome])]
    return f"on the wire {', '.join(parts)}"


def ips(count: int) -> str:
    """So many Service IPs, in words."""
    return "1 Service IP" if count == 1 else f"{count} Service IPs"


_WORDS: dict[Outcome, str] = {
    "one": "exactly one host answers for {}",
    "several": "several hosts answer for {}",
    "lost": "nobody answers any more for {}",
    "nobody": "nobody answers, nor did before, for {}",
    "foreign": "a host that is no node answers for {}",
}


def proved(vips: Sequence[VipSeen]) -> bool:
    """The wire alone proves it: every Service IP was asked for, and where anybody answers it is one host."""
    return any(each.outcome == "one" for each in vips) and all(
        each.outcome in ("one", "nobody") and not each.reason for each in vips
    )


def table(vips: Sequence[VipSeen]) -> list[str]:
    """Lines for people: each IP with who answered before and who does now."""
    return [_line(each) for each in vips if each.before is not None or each.after is not None]


def _line(vip: VipSeen) -> str:
    sides = [", ".join(side) or "nobody" for side in (vip.before, vip.after) if side is not None]
    return f"{vip.ip} ({', '.join(vip.services)}): {' -> '.join(dict.fromkeys(sides))}"
