"""What the answers to ARP requests for an address mean. Pure.

One MAC is one answerer however often it answers: a host with the address on two links, or a proxy, may
answer twice. More than one MAC for one address is the fault this project is about.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

from strictarp.arp.frames import NO_IP, REPLY, ArpFrame, mac_text

Form: TypeAlias = Literal["probe", "request"]
"""An address probe has the sender 0.0.0.0 and touches no cache (RFC 5227 2.1.1); an ordinary request names
its sender, and only that one meets proxy ARP, rp_filter and policy rules."""


class Verdict(enum.StrEnum):
    """How many hosts answer for an address, or that it could not be asked for."""

    NOBODY = "nobody"
    ONE = "one"
    SEVERAL = "several"
    UNKNOWN = "unknown"


EXIT_CANNOT_LOOK = 3
EXIT_CODES = {
    Verdict.ONE: 0,
    Verdict.NOBODY: 1,
    Verdict.SEVERAL: 2,
    Verdict.UNKNOWN: EXIT_CANNOT_LOOK,
}
_WORST_FIRST = (Verdict.SEVERAL, Verdict.NOBODY, Verdict.UNKNOWN)


class Answerer(msgspec.Struct, frozen=True):
    """One MAC that answered.

    answers: how many frames. first_ms: time from the request to the first of them. ethernet_source: the
    sender in the Ethernet header where it differs from the MAC in the packet, else None. forms: of the
    requests that it answered.
    """

    mac: str
    answers: int
    first_ms: float
    ethernet_source: str | None = None
    forms: tuple[Form, ...] = ("probe",)

    @property
    def repeats(self) -> bool:
        """It answered one request more than once: two voices with one MAC (each form is asked once)."""
        return self.answers > len(self.forms)


class Findings(msgspec.Struct, frozen=True):
    """What asking for one address showed.

    form: "probe" with sender 0.0.0.0, "request", or "both" one after the other. sender: of the request.
    own_address: this host has the address itself; its own kernel does not hear its own question and is not
    counted. seconds: how long was waited. reason: why it was not asked for, or not in both forms.
    """

    ip: str
    interface: str
    form: str
    sender: str
    verdict: Verdict
    answerers: tuple[Answerer, ...]
    own_address: bool
    seconds: float
    reason: str = ""

    @property
    def exit_code(self) -> int:
        """0 exactly one answerer, 1 none, 2 several, 3 not asked for."""
        return EXIT_CODES[self.verdict]


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """The code for several addresses: what was seen to be wrong counts before what could not be seen."""
    seen = set(verdicts)
    return next((EXIT_CODES[each] for each in _WORST_FIRST if each in seen), 0)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An ARP reply and when it came, in microseconds after the request."""

    frame: ArpFrame
    after_us: int


def is_answer(frame: ArpFrame, *, ip: bytes, asker_mac: bytes, asker_ip: bytes = NO_IP) -> bool:
    """`frame` answers the request of `asker_mac` for `ip`.

    A gratuitous reply to the same MAC is none: it names the address itself as its target.
    """
    return (
        frame.operation == REPLY
        and frame.sender_ip == ip
        and frame.target_mac == asker_mac
        and frame.target_ip == asker_ip
    )


def form_of(answer: ArpFrame) -> Form:
    """The form of the request that a reply answers: it goes back to the sender named there."""
    return "probe" if answer.target_ip == NO_IP else "request"


def answerers(answers: Iterable[Answer]) -> tuple[Answerer, ...]:
    """Each MAC that answered, in order of its first answer."""
    by_mac: dict[bytes, list[Answer]] = {}
    for answer in sorted(answers, key=lambda each: each.after_us):
        by_mac.setdefault(answer.frame.sender_mac, []).append(answer)
    return tuple(
        Answerer(
            mac=mac_text(mac),
            answers=len(each),
            first_ms=each[0].after_us / 1000,
            ethernet_source=mac_text(each[0].frame.source) if each[0].frame.source != mac else None,
            forms=_forms(each),
        )
        for mac, each in by_mac.items()
    )


def _forms(answers: Sequence[Answer]) -> tuple[Form, ...]:
    answered = {form_of(each.frame) for each in answers}
    forms: tuple[Form, ...] = ("probe", "request")
    return tuple(each for each in forms if each in answered)


def judge(found: tuple[Answerer, ...]) -> Verdict:
    """The verdict on these answerers."""
    if not found:
        return Verdict.NOBODY
    return Verdict.ONE if len(found) == 1 else Verdict.SEVERAL


def sentence(findings: Findings) -> str:
    """The verdict in words, for people."""
    ip, where = findings.ip, f"on {findings.interface}"
    if findings.verdict is Verdict.UNKNOWN:
        return f"cannot look for {ip}: {findings.reason}"
    if findings.verdict is Verdict.NOBODY:
        if findings.own_address:
            return f"nobody else answers for {ip} {where}; this host has the address itself"
        return f"nobody answers for {ip} {where}"
    if findings.verdict is Verdict.SEVERAL:
        return f"{len(findings.answerers)} hosts answer for {ip} {where}"
    only = findings.answerers[0]
    if only.repeats:
        asked = "one request" if len(only.forms) == 1 else f"{len(only.forms)} requests"
        return f"{only.mac} answers for {ip} {where}: one host, {only.answers} answers to {asked}"
    return f"{only.mac} answers for {ip} {where}"
