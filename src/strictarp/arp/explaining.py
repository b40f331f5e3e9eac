"""One question, "who answers here for this address?", with its whole answer as a value and as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from strictarp.arp import wording
from strictarp.arp.decision import Decision
from strictarp.arp.facts import UNICAST, Host, dotted
from strictarp.arp.fib import other_hops
from strictarp.arp.frames import mac_text
from strictarp.arp.packets import Packet
from strictarp.arp.receiving import receive
from strictarp.arp.remedies import turning
from strictarp.errors import UserError

ASKER_MAC = bytes.fromhex("020000000001")
"""The MAC of the imagined asker: locally administered."""


class Step(msgspec.Struct, frozen=True):
    """What one device does with the request. mac, sender: of the answer, empty without one."""

    device: str
    answered: bool
    rule: str
    why: str
    neighbour: str
    mac: str = ""
    sender: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """assumed: nobody said who asks. changes: commands that would turn the outcome round, each on its own."""

    interface: str
    ip: str
    asker: str
    assumed: bool
    answered: bool
    steps: tuple[Step, ...]
    changes: tuple[str, ...]
    notes: tuple[str, ...]


def explain(
    host: Host, interface: str, target: int, *, asker: int | None = None, unread: tuple[str, ...] = ()
) -> Explanation:
    """Whether and why a broadcast request for `target` on `interface` is answered.

    asker: the sender address; None: one that would be on that link. unread: filters that the facts do
    not contain. Raises UserError without such an interface.
    """
    if interface not in host.by_name:
        known = ", ".join(host.by_name)
        raise UserError(f"--in {interface}: the facts have no such interface; they have {known}")
    sender = assumed_asker(host, interface, target) if asker is None else asker
    packet = Packet(sender, target, ASKER_MAC, source=ASKER_MAC)
    decisions = receive(host, interface, packet)
    return Explanation(
        interface=interface,
        ip=dotted(target),
        asker=dotted(sender),
        assumed=asker is None,
        answered=any(each.answered for each in decisions),
        steps=tuple(_step(host, packet, each) for each in decisions),
        changes=tuple(" && ".join(each.commands) for each in turning(host, interface, packet)),
        notes=tuple(_notes(unread, decisions, by_chance=_is_chance(host, interface, packet, decisions))),
    )


def _step(host: Host, packet: Packet, decision: Decision) -> Step:
    answer = decision.answer
    return Step(
        device=decision.device,
        answered=decision.answered,
        rule=decision.rule.value,
        why=wording.sentence(host, packet, decision),
        neighbour=wording.effect(host, packet, decision),
        mac=mac_text(answer.mac) if answer else "",
        sender=dotted(answer.sender_ip) if answer else "",
    )


def _is_chance(host: Host, interface: str, packet: Packet, decisions: list[Decision]) -> bool:
    """A route has several hops, and by another of them the outcome would be another one."""
    return any(receive(other, interface, packet) != decisions for other in other_hops(host))


def _notes(unread: tuple[str, ...], decisions: list[Decision], *, by_chance: bool) -> Iterator[str]:
    if by_chance:
        yield (
            "A route that decides here has several next hops, and the kernel draws one for each pair of "
            "addresses: by another one the outcome is another one."
        )
    if unread:
        yield (
            f"Filters that may drop or change ARP were not read ({'; '.join(unread)}): the answer is that of "
            "a host without them."
        )
    delays = [each.answer.delay for each in decisions if each.answer is not None and each.answer.delay]
    if delays:
        yield f"A proxy answers a broadcast only after up to {max(delays) / 100:g} s (proxy_delay)."
    if sum(each.answered for each in decisions) > 1:
        yield "Several answers leave, with different MAC addresses where the interfaces have them: ARP flux."


def assumed_asker(host: Host, interface: str, target: int) -> int:
    """Somebody who would ask there: a neighbour in a subnet of the interface, or the far end of a route by
    it.

    0 where there is nobody: then the question is an address probe.
    """
    device = host.by_name[interface]
    names = (interface, device.master) if device.master else (interface,)
    held = [each for name in names for each in host.on_device.get(name, ())]
    networks = [(each.peer, each.prefix) for each in sorted(held, key=lambda each: not each.covers(target))]
    networks += [
        (route.destination, route.prefix)
        for route in host.routes
        if route.kind == UNICAST and route.prefix and any(hop.device in names for hop in route.hops)
    ]
    for address, prefix in networks:
        for candidate in _hosts(address, prefix):
            if candidate != target and candidate not in host.local_addresses:
                return candidate
    return 0


def _hosts(address: int, prefix: int) -> Iterator[int]:
    """A few host addresses of a network."""
    first = address >> (32 - prefix) << (32 - prefix)
    last = first + (1 << (32 - prefix)) - 1
    edge = 0 if prefix >= 31 else 1
    yield from range(first + edge, min(last - edge, first + 16) + 1)


def text(told: Explanation) -> str:
    """The explanation for people."""
    who = f"{told.asker}{' (assumed; --from says who asks)' if told.assumed else ''}"
    if told.asker == "0.0.0.0":
        who = "an address probe (sender 0.0.0.0)"
    verdict = "is answered" if told.answered else "is NOT answered"
    lines = [f"who-has {told.ip} on {told.interface}, asked by {who}: {verdict}"]
    for step in told.steps:
        said = f"answers {step.sender} is-at {step.mac}" if step.answered else "stays silent"
        lines += ["", f"{step.device} {said}  [{step.rule}]", f"  {step.why}", f"  {step.neighbour}"]
    if told.changes:
        wanted = "silence it" if told.answered else "make it answer"
        lines += ["", f"Each of these would {wanted}:", *(f"  {change}" for change in told.changes)]
    lines += [f"\nNote: {note}" for note in told.notes]
    return "\n".join(lines)
