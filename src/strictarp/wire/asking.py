"""Ask by ARP who answers for addresses, and collect the answers. Thin.

One packet socket a link. Requests go out one by one at a limited rate: a burst of broadcasts is what switches
and hosts drop. Works in the network namespace of the calling thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address

import msgspec

from strictarp.arp import bpf, frames, probing
from strictarp.arp.frames import ETHERTYPE_ARP, NO_IP, MalformedFrame
from strictarp.arp.probing import Answer, Findings, Form, Verdict
from strictarp.arp.rawsocket import RawSocket
from strictarp.netlink.rtnl import Link
from strictarp.wire.vantage import CannotLook, Vantage, find_vantages

DEFAULT_WAIT = 1.2
"""Seconds. More than one, because proxies delay their answers by up to 0.8 s (proxy_delay)."""
RATE = 200.0
"""Broadcasts a second on one link."""
MAX_ANSWERS = 256
"""Answers that are kept for one address: nobody's flood fills our memory."""


class Progress(msgspec.Struct, frozen=True):
    """How far it is: addresses asked for, in all, that answered; and seconds left on the slowest link."""

    asked: int
    total: int
    answered: int
    left: float


OnProgress = Callable[[Progress], None]


class _Target:
    """One address: the questions to send, when they were sent, what came."""

    def __init__(self, ip: IPv4Address, vantage: Vantage, senders: dict[Form, bytes], reason: str) -> None:
        self.ip = ip
        self.vantage = vantage
        self.senders = senders
        self.reason = reason
        self.asked: dict[Form, int] = {}
        self.answers: list[Answer] = []


async def probe_many(
    ips: Iterable[IPv4Address],
    interface: str | None = None,
    *,
    wait: float = DEFAULT_WAIT,
    forms: Sequence[Form] = ("probe",),
    sender: IPv4Address | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[Findings, ...]:
    """Broadcast each form of request once for each address and collect answers for `wait` seconds after it.

    interface: None takes that of the route to each address. sender: of the form "request"; None takes an
    address of the link. An address that cannot be asked for from here has the verdict `UNKNOWN` and the
    reason. The findings are in the order of `ips`, each address once.

    Raises CannotLook when nothing can be asked for: no such interface, no permission, no netlink.
    """
    places = await find_vantages(dict.fromkeys(ips), interface)
    made = {ip: _target(ip, place, forms, sender) for ip, place in places.items()}
    by_link: dict[Link, list[_Target]] = {}
    for each in made.values():
        if isinstance(each, _Target):
            by_link.setdefault(each.vantage.link, []).append(each)
    reporter = asyncio.create_task(_report(by_link, wait, on_progress)) if on_progress else None
    try:
        failures = dict(
            zip(by_link, await asyncio.gather(*(_ask(*each, wait) for each in by_link.items())), strict=True)
        )
    finally:
        if reporter:
            reporter.cancel()
    return tuple(_findings(ip, each, failures, wait) for ip, each in made.items())


async def probe(
    ip: IPv4Address,
    interface: str | None = None,
    *,
    wait: float = DEFAULT_WAIT,
    sender: IPv4Address | None = None,
) -> Findings:
    """Ask once for one address: as an address probe, or as an ordinary request when a sender is given.

    Raises CannotLook.
    """
    forms: tuple[Form, ...] = ("request",) if sender else ("probe",)
    (found,) = await probe_many((ip,), interface, wait=wait, forms=forms, sender=sender)
    if found.verdict is Verdict.UNKNOWN:
        raise CannotLook(found.reason)
    return found


def probe_blocking(
    ip: IPv4Address,
    interface: str | None = None,
    *,
    wait: float = DEFAULT_WAIT,
    sender: IPv4Address | None = None,
) -> Findings:
    """`probe` for callers without an event loop; works in the namespace of the calling thread."""
    return asyncio.run(probe(ip, interface, wait=wait, sender=sender))


def _target(
    ip: IPv4Address, place: Vantage | CannotLook, forms: Sequence[Form], sender: IPv4Address | None
) -> _Target | str:
    """What to ask for `ip`, or why nothing can be asked."""
    if isinstance(place, CannotLook):
        return str(place)
    asker = sender.packed if sender else place.sender
    senders: dict[Form, bytes] = {form: NO_IP if form == "probe" else asker for form in forms}
    if "request" not in senders or asker:
        return _Target(ip, place, senders, "")
    why = f"interface {place.link.name} has no IPv4 address to ask as; name one with --sender"
    del senders["request"]
    return _Target(ip, place, senders, f"asked as probe only: {why}") if senders else why


async def _ask(link: Link, targets: list[_Target], wait: float) -> str:
    """Ask all questions of one link. Returns why that failed, or nothing.

    Raises CannotLook without permission: that is the same for all links.
    """
    try:
        sock = RawSocket(link.index, ETHERTYPE_ARP, bpf.arp())
    except PermissionError as error:
        raise CannotLook("no permission to open a packet socket; run as root or with CAP_NET_RAW") from error
    except OSError as error:
        return f"interface {link.name}: {error.strerror}"
    loop = asyncio.get_running_loop()
    try:
        sock.watch(loop, _collector(link, targets, wait))
        due = loop.time()
        for target in targets:
            for form, asker in target.senders.items():
                await asyncio.sleep(due - loop.time())
                target.asked[form] = time.monotonic_ns()
                if not sock.send(frames.request(link.mac, asker, target.ip.packed)):
                    return f"interface {link.name}: the kernel did not take the request; is the link up?"
                # A late wake-up is made good, but never by more than one question.
                due = max(due + 1 / RATE, loop.time())
        await asyncio.sleep(wait)
        return f"interface {link.name} went down while waiting for answers" if sock.broken else ""
    finally:
        sock.unwatch(loop)
        sock.close()


def _collector(link: Link, targets: list[_Target], wait: float) -> Callable[[bytes], None]:
    by_ip = {each.ip.packed: each for each in targets}

    def on_frame(data: bytes) -> None:
        now = time.monotonic_ns()
        try:
            frame = frames.decode(data)
        except MalformedFrame:
            return
        target = by_ip.get(frame.sender_ip)
        form = probing.form_of(frame)
        if target is None or form not in target.asked or len(target.answers) >= MAX_ANSWERS:
            return
        after = (now - target.asked[form]) // 1000
        asker = target.senders[form]
        if after <= wait * 1e6 and probing.is_answer(
            frame, ip=frame.sender_ip, asker_mac=link.mac, asker_ip=asker
        ):
            target.answers.append(Answer(frame, after))

    return on_frame


async def _report(by_link: dict[Link, list[_Target]], wait: float, on_progress: OnProgress) -> None:
    """Tell how far it is, ten times a second, until cancelled."""
    while True:
        targets = [each for group in by_link.values() for each in group]
        questions = max(
            (sum(len(each.senders) - len(each.asked) for each in group) for group in by_link.values()),
            default=0,
        )
        latest = max((when for each in targets for when in each.asked.values()), default=0)
        waited = (time.monotonic_ns() - latest) / 1e9 if latest and not questions else 0.0
        on_progress(
            Progress(
                asked=sum(bool(each.asked) for each in targets),
                total=len(targets),
                answered=sum(bool(each.answers) for each in targets),
                left=max(0.0, questions / RATE + wait - waited),
            )
        )
        await asyncio.sleep(0.1)


def _findings(ip: IPv4Address, target: _Target | str, failures: dict[Link, str], wait: float) -> Findings:
    if isinstance(target, str):
        return _unknown(ip, "", reason=target)
    link = target.vantage.link
    if failures[link]:
        return _unknown(ip, link.name, reason=failures[link])
    found = probing.answerers(target.answers)
    return Findings(
        ip=str(ip),
        interface=link.name,
        form="both" if len(target.senders) > 1 else next(iter(target.senders)),
        sender=str(IPv4Address(target.senders.get("request", NO_IP))),
        verdict=probing.judge(found),
        answerers=found,
        own_address=target.vantage.own_address,
        seconds=round(wait, 3),
        reason=target.reason,
    )


def _unknown(ip: IPv4Address, interface: str, *, reason: str) -> Findings:
    return Findings(
        ip=str(ip),
        interface=interface,
        form="probe",
        sender=str(IPv4Address(0)),
        verdict=Verdict.UNKNOWN,
        answerers=(),
        own_address=False,
        seconds=0.0,
        reason=reason,
    )
