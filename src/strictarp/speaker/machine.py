"""The speaker's machine: one node on one segment, without I/O, clock or chance of its own.

A shell feeds it (`step`), sends what it returns, and wakes it at `next_deadline`.
"""

from __future__ import annotations

import random

from strictarp.hello.auth import Keys
from strictarp.speaker.actions import Action
from strictarp.speaker.events import Event
from strictarp.speaker.settings import Settings


class Machine:
    """Who answers for which IP on this segment, as far as this node is concerned.

    node: its name. cluster: `ids.cluster_id`. keys: may come later by KeysChanged. chance: in a shell
    random.SystemRandom(), in a test random.Random(seed).
    """

    def __init__(
        self, node: str, cluster: int, settings: Settings, *, keys: Keys | None, chance: random.Random
    ) -> None:
        raise NotImplementedError

    def step(self, event: Event, now: int) -> list[Action]:
        """What follows from the event, to be done in order. now: µs of a clock that counts suspend.

        Before anything else the lease is checked: a node that has not said HELLO for too long owns nothing
        any more, whatever the event is.
        """
        raise NotImplementedError

    def answer(self, data: bytes, now: int) -> bytes | None:
        """The answer to an ARP request for an owned IP, to be sent at once; None: give the frame to `step`.

        The fast path; `step` gives the same answer.
        """
        raise NotImplementedError

    def may_answer(self, now: int) -> bool:
        """Whether the last hello is fresh enough for anything that says "I own this IP"."""
        raise NotImplementedError

    def next_deadline(self) -> int | None:
        """When to feed TimerDue at the latest; it may change with every step."""
        raise NotImplementedError
