"""One exchange with the kernel as a machine without I/O: a batch of requests or a dump, fed with datagrams.

The kernel works through the messages of a datagram in order. It answers each that it refuses, and each that
carries NLM_F_ACK, with one NLMSG_ERROR (0 is success; netlink_rcv_skb in net/netlink/af_netlink.c), and a
dump with parts that end in NLMSG_DONE. So only the last message of a batch asks: its answer says that all
before it are done, and silence about them that they went well. A transaction of nfnetlink ends at the first
refusal, which may be that of its beginning, and then of all (nfnetlink_rcv_batch in nfnetlink.c). Answers to
an exchange that was given up may still arrive: their numbers are not ours, they are counted and dropped.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

from strictarp.netlink.messages import (
    NLM_F_ACK,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    Message,
    Refusal,
    parse_error,
    parse_messages,
    stamp,
)

_LOW_FLAGS = 6 if sys.byteorder == "little" else 7
"""Where in a header the byte with NLM_F_ACK is."""


def join(messages: Sequence[bytes], first_sequence: int) -> bytearray:
    """One datagram of several messages, numbered from `first_sequence` on (wrapping at 32 bits).

    Of several only the last asks for an acknowledgement.
    """
    datagram = bytearray(b"".join(messages))
    offset, sequence, last = 0, first_sequence, len(datagram) - len(messages[-1])
    for message in messages:
        stamp(datagram, offset, sequence)
        if offset != last:
            datagram[offset + _LOW_FLAGS] &= ~NLM_F_ACK & 0xFF
        offset += len(message)
        sequence = (sequence + 1) & 0xFFFFFFFF
    return datagram


class Exchange:
    """Collects the answers to messages numbered `first_sequence` to `first_sequence + count - 1`.

    Done with the answer to the last of them; with `together`, also with the first refusal.

    `errors`: the answer to each message in order, None for success. `messages`: everything else that was
    answered, in order of arrival. `interrupted`: the table changed under a dump, it must be read again
    (NLM_F_DUMP_INTR). `stray`: messages that answer something else.
    """

    def __init__(self, first_sequence: int, count: int, *, together: bool = False) -> None:
        self._together = together
        self._first = first_sequence
        self._last = count - 1
        self._open = set(range(count))
        self.errors: list[Refusal | None] = [None] * count
        self.messages: list[Message] = []
        self.interrupted = False
        self.stray = 0

    @property
    def done(self) -> bool:
        """Every message has its answer."""
        return not self._open

    def feed(self, datagram: memoryview | bytes) -> None:
        """Take one datagram from the kernel. Raises MalformedMessage, after which the exchange is lost."""
        for message in parse_messages(datagram):
            index = (message.sequence - self._first) & 0xFFFFFFFF
            if index not in self._open:
                self.stray += 1
                continue
            self.interrupted |= bool(message.flags & NLM_F_DUMP_INTR)
            if message.type in (NLMSG_ERROR, NLMSG_DONE):
                self.errors[index] = parse_error(message)
                self._open.discard(index)
                if index == self._last or (self._together and self.errors[index] is not None):
                    self._open.clear()
            elif message.type != NLMSG_NOOP:
                self.messages.append(message)

    def lost(self) -> None:
        """Answers were dropped (ENOBUFS): what is still open is unknown and is said so."""
        for index in self._open:
            self.errors[index] = Refusal(errno.ENOBUFS, "the answer was lost: look at the kernel again")
        self._open.clear()
