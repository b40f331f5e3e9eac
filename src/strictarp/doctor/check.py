"""What a check is, and what it finds. Pure.

Each problem that can be diagnosed is declared once, as a `Check`: its code never changes, and the list of
codes, the documentation page and the report all come from the declaration.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable

import msgspec

from strictarp.doctor.evidence import Evidence


class Severity(enum.StrEnum):
    """error: an IP is unreachable or answered twice. warning: it works until something happens."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Part(enum.StrEnum):
    """Where the doctor looks."""

    CLUSTER = "cluster"
    NODES = "nodes"
    WIRE = "wire"


class Sighting(msgspec.Struct, frozen=True):
    """One case of a check's problem.

    subject: what has it: `node n1`, `node n1 interface eth0`, `Service default/web`, `VIP 192.0.2.10`.
    seen: what was seen, with values. mend: the exact command or edit that mends it here.
    """

    subject: str
    seen: str
    mend: str


class Check(msgspec.Struct, frozen=True):
    """A problem that can be diagnosed.

    code: `SA` and three digits, the first by subject: 0 proxy mode, 1 strictARP's setting, 2 sysctls of
    nodes, 3 addresses on nodes, 4 filters and links of nodes, 5 announcers, 6 pools and Services, 7 the wire.
    why: why it matters, in a sentence. needs: what must have been looked at; without it the check is told as
    not looked at. causes: codes of which this problem can be a mere consequence: a sighting is not reported
    when one of them was found on the same subject, or on one that `explains` it.
    """

    code: str
    title: str
    severity: Severity
    why: str
    needs: frozenset[Part]
    look: Callable[[Evidence], Iterable[Sighting]]
    causes: tuple[str, ...] = ()
    explains: Callable[[Sighting, Sighting], bool] | None = None


class Finding(msgspec.Struct, frozen=True):
    """A sighting with its check's words, as it is reported. `consequences`: codes not reported again."""

    code: str
    severity: Severity
    title: str
    subject: str
    seen: str
    why: str
    mend: str
    consequences: tuple[str, ...] = ()
