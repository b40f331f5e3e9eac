"""What happened in a run, in order of time. The invariants read it; people read `text`."""

from __future__ import annotations

import enum
import ipaddress
from typing import Any, NamedTuple

from strictarp.hello.messages import State
from strictarp.speaker.actions import Report


class What(enum.StrEnum):
    """Kinds of entries. `info` of each in brackets."""

    STARTED = "started"
    DIED = "died"
    STOPPED = "stopped"  # when the machine said what was then not done; None: all was done
    WOKE = "woke"
    HELLO = "hello"  # (state, isolated, incarnation, when the machine said it)
    OWNS = "owns"  # epoch
    DISOWNS = "disowns"
    ANSWERS = "answers"  # True: an announcement that nobody asked for
    WITHHELD = "withheld"  # a frame that `may_answer` forbade
    REPORTS = "reports"  # Report
    SEES = "sees"  # View
    LOST = "lost a frame of"  # label of the sender
    LINKS = "links"  # Conditions
    PLAN = "plan"  # "drain" or "move"
    FOREIGN = "foreign host"  # whether it has the address
    FAULT = "fault"  # text
    FRAME = "frame"  # text; only in a readable trace


class Entry(NamedTuple):
    """who: a node's label or "". address: a packed VIP or empty."""

    time: int
    what: What
    who: str
    address: bytes
    info: Any


class Conditions(NamedTuple):
    """The state of the segment.

    down: ordered pairs of ports between which nothing passes. bad: pairs for which the promise of one
    answerer does not hold: down, filtered, loss above 5 %, or delay of P/2 and more. unclean: it is not
    just a partition, so nobody promises that somebody answers. lossy: a light loss is on. slowest: the
    largest one-way delay of pairs that are not bad, µs. deaf: ports that receive nothing. reorders: frames
    between two hosts may overtake each other.
    """

    down: frozenset[tuple[int, int]] = frozenset()
    bad: frozenset[tuple[int, int]] = frozenset()
    unclean: bool = False
    lossy: bool = False
    slowest: int = 0
    deaf: frozenset[int] = frozenset()
    reorders: bool = False


class Member(NamedTuple):
    """A node of the run. port: on the segment. drift: of its clock, in millionths."""

    label: str
    name: str
    cluster: int
    port: int
    drift: int


class Trace:
    """A list of entries. verbose: with frames."""

    __slots__ = ("entries", "verbose")

    def __init__(self, *, verbose: bool = False) -> None:
        self.entries: list[Entry] = []
        self.verbose = verbose

    def add(self, time: int, what: What, who: str = "", address: bytes = b"", info: Any = None) -> None:  # noqa: ANN401
        """Note something that happened."""
        self.entries.append(Entry(time, what, who, address, info))


def text(entry: Entry) -> str:
    """One line for people."""
    address = str(ipaddress.ip_address(entry.address)) if entry.address else ""
    words = [f"{entry.time / 1_000_000:10.6f}", f"{entry.who:6}", entry.what.value, address, _info(entry)]
    return " ".join(word for word in words if word)


def _info(entry: Entry) -> str:  # noqa: PLR0911 - one case a kind
    match entry.what, entry.info:
        case What.HELLO, (state, isolated, incarnation, _):
            flag = " ISOLATED" if isolated else ""
            return f"{State(state).name.lower()}{flag} {incarnation:016x}"
        case What.OWNS, epoch:
            return f"epoch {epoch}"
        case What.ANSWERS, announcement:
            return "(announcement)" if announcement else ""
        case What.REPORTS, Report() as report:
            parts = [report.kind.value, report.node, report.mac.hex(":"), report.detail]
            where = str(ipaddress.ip_address(report.address)) if report.address else ""
            took = f"{report.micros / 1000:.1f} ms" if report.micros else ""
            return " ".join(part for part in [where, *parts, took] if part)
        case What.SEES, view:
            may = [str(ipaddress.ip_address(vip.address)) for vip in view.vips.values() if vip.eligible]
            return f"members {','.join(sorted(view.members))}; may own {','.join(may) or 'nothing'}"
        case What.LINKS, Conditions() as links:
            notes = [f"{len(links.down)} pairs cut"] if links.down else []
            notes += [f"{len(links.bad)} pairs bad"] if links.bad else []
            notes += ["unclean"] if links.unclean else []
            return ", ".join([*notes, f"delay up to {links.slowest / 1000:.1f} ms"])
        case _, None:
            return ""
        case _, info:
            return str(info)
