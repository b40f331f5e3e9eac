"""What the answers to one ARP request mean. Pure.

One MAC is one answerer however often it answers: a host with the address on two links, or a proxy, may
answer twice. More than one MAC for one address is the fault this project is about.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from strictarp.arp.frames import NO_IP, REPLY, ArpFrame, mac_text


class Verdict(enum.StrEnum):
    """How many hosts answer for an address."""

    NOBODY = "nobody"
    ONE = "one"
    SEVERAL = "several"


EXIT_CODES = {Verdict.ONE: 0, Verdict.NOBODY: 1, Verdict.SEVERAL: 2}
EXIT_CANNOT_LOOK = 3


class Answerer(msgspec.Struct, frozen=True):
    """One MAC that answered.

    answers: how many frames. first_ms: time from the request to the first of them. ethernet_source: the
    sender in the Ethernet header where it differs from the MAC in the packet, else None.
    """

    mac: str
    answers: int
    first_ms: float
    ethernet_source: str | None = None


class Findings(msgspec.Struct, frozen=True):
    """What a probe saw.

    form: "probe" with sender 0.0.0.0, or "request". own_address: this host has the address itself; its own
    kernel does not hear its own question and is not counted. seconds: how long was waited.
    """

    ip: str
    interface: str
    form: str
    sender: str
    verdict: Verdict
    answerers: tuple[Answerer, ...]
    own_address: bool
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 exactly one answerer, 1 none, 2 several."""
        return EXIT_CODES[self.verdict]


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
        )
        for mac, each in by_mac.items()
    )


def judge(found: tuple[Answerer, ...]) -> Verdict:
    """The verdict on these answerers."""
    if not found:
        return Verdict.NOBODY
    return Verdict.ONE if len(found) == 1 else Verdict.SEVERAL


def sentence(findings: Findings) -> str:
    """The verdict in words, for people."""
    ip, where = findings.ip, f"on {findings.interface}"
    total = sum(each.answers for each in findings.answerers)
    if findings.verdict is Verdict.NOBODY:
        if findings.own_address:
            return f"nobody else answers for {ip} {where}; this host has the address itself"
        return f"nobody answers for {ip} {where}"
    if findings.verdict is Verdict.SEVERAL:
        return f"{len(findings.answerers)} hosts answer for {ip} {where}"
    only = findings.answerers[0]
    if total > 1:
        return f"{only.mac} answers for {ip} {where}: one host, {total} answers to one request"
    return f"{only.mac} answers for {ip} {where}"
