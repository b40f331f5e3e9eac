"""Values that somebody changed: counted, and told at a sensible rate. Pure.

Every change is undone at once, but not every one is worth a line: whoever fights over a value is told first,
then after a minute, two, four, up to an hour, with the number of times. After ten quiet minutes the next one
counts as new.
"""

from __future__ import annotations

import msgspec

FIRST_WAIT = 60.0
LONGEST_WAIT = 3600.0
QUIET = 600.0


class Drift(msgspec.Struct, frozen=True, rename="camel"):
    """What was found changed, and undone. what: a sysctl, or the table. at: seconds since 1970.

    culprits: who may have done it, in words, the likeliest first.
    """

    what: str
    was: str
    again: str
    at: float
    culprits: tuple[str, ...] = ()


class Fight(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of one subject. untold: changes since the last line about it; told, seen: when."""

    told: float
    seen: float
    wait: float = FIRST_WAIT
    untold: int = 0
    total: int = 1


def heard(fight: Fight | None, now: float) -> tuple[Fight, bool]:
    """One more change, and whether it is to be told. Of a told one, `untold` still counts those before it."""
    if fight is None or now - fight.seen > QUIET:
        return Fight(now, now, total=(fight.total if fight else 0) + 1), True
    if now - fight.told < fight.wait:
        return msgspec.structs.replace(fight, seen=now, untold=fight.untold + 1, total=fight.total + 1), False
    wait = min(2 * fight.wait, LONGEST_WAIT)
    return Fight(now, now, wait, total=fight.total + 1), True
