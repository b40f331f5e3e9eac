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


CLUSTER = frozenset({Part.CLUSTER})
NODES = frozenset({Part.NODES})
WIRE = frozenset({Part.WIRE})
"""For `Check.needs`; `CLUSTER | WIRE` for both."""


class Sighting(msgspec.Struct, frozen=True):
    """One case of a check's problem.

    subject: what has it: `node n1`, `node n1 interface eth0`, `Service default/web`, `VIP 192.0.2.10`.
    seen: what was seen, with values. mend: the exact command or edit that mends it here. affects: the
    subjects that depend on it, such as the VIPs of a Service: they are told, and what is found there as a
    consequence of this is not told again.
    """

    subject: str
    seen: str
    mend: str
    affects: tuple[str, ...] = ()


class Check(msgspec.Struct, frozen=True):
    """A problem that can be diagnosed.

    code: `SA` and three digits, the first by subject: 0 proxy mode, 1 strictARP's setting, 2 sysctls of
    nodes, 3 addresses on nodes, 4 filters and links of nodes, 5 announcers, 6 pools and Services, 7 the wire.
    why: why it matters, in a sentence. needs: what must have been looked at; without it the check is told as
    not looked at. reads: kinds of the API (their plurals) without which it cannot tell either. causes: codes
    of which this problem can be a mere consequence: a sighting is not reported when one of them was found on
    the same subject, on one that says it `affects` this one, or on one that `explains` it: called with the
    cause's sighting and this one's.
    """

    code: str
    title: str
    severity: Severity
    why: str
    needs: frozenset[Part]
    look: Callable[[Evidence], Iterable[Sighting]]
    causes: tuple[str, ...] = ()
    explains: Callable[[Sighting, Sighting], bool] | None = None
    reads: frozenset[str] = frozenset()


class Finding(msgspec.Struct, frozen=True):
    """A sighting with its check's words, as it is reported.

    affects: subjects that depend on it. consequences: codes found because of it, and not reported again.
    """

    code: str
    severity: Severity
    title: str
    subject: str
    seen: str
    why: str
    mend: str
    affects: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()
