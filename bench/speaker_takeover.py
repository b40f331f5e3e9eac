"""1,000 addresses at once change their owner, who lost power.

To reach: all answered within 1.5 s, at most 2,000 gratuitous frames a second. Needs root.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench._speakers import Asker, Scene, until, vips
from strictarp.arp import frames

SERVICES = 1000
WATCHED = 8.0
ASK_AGAIN = 0.2
ASK_AT_ONCE = 25


def run() -> Iterator[dict[str, object]]:
    """One line: when the first and the last address were answered by the new owner, and its announcements."""
    scene = Scene(2, SERVICES)
    try:
        scene.speak("node1")
        until("all addresses taken", lambda: scene.told("node1", "TookOver") >= SERVICES)
        scene.speak("node2")
        until("both seasoned", lambda: scene.told("node2", "Seasoned") > 0)
        yield _takeover(scene)
    finally:
        scene.close()


def _takeover(scene: Scene) -> dict[str, object]:
    asker = Asker(scene.network)
    new = frames.parse_mac(scene.network.nodes["node2"].mac)
    answered: dict[bytes, float] = {}
    announced: list[float] = []
    waiting = dict.fromkeys(vips(SERVICES), 0.0)
    scene.network.cut("node1")
    scene.speakers["node1"].kill()
    began = time.monotonic()
    while (now := time.monotonic()) < began + WATCHED:
        due = [address for address, asked in waiting.items() if now - asked > ASK_AGAIN]
        for address in due[:ASK_AT_ONCE]:
            asker.ask(address)
            waiting[address] = now
        for _ in range(4 * ASK_AT_ONCE):
            data = asker.heard()
            if data is None:
                break
            _note(data, new, now - began, answered, announced)
        for address in answered.keys() & waiting.keys():
            del waiting[address]
        time.sleep(0.001)
    asker.close()
    times = sorted(answered.values())
    return {
        "figure": f"{SERVICES} addresses taken over",
        "answered": len(times),
        "first_ms": round(1000 * times[0]) if times else None,
        "last_ms": round(1000 * times[-1]) if times else None,
        "to_reach_ms": 1500,
        "gratuitous_frames": len(announced),
        "most_in_a_second": _most_in_a_second(announced),
        "to_reach_a_second": 2000,
    }


def _note(data: bytes, new: bytes, at: float, answered: dict[bytes, float], announced: list[float]) -> None:
    """A frame of the new owner: an answer to us, or an announcement to all."""
    if data[6:12] != new or data[28:32] == frames.NO_IP:
        return
    address = bytes(data[28:32])
    if data[0] & 1:
        if data[38:42] == address:
            announced.append(at)
    elif data[20:22] == b"\0\x02":
        answered.setdefault(address, at)


def _most_in_a_second(times: list[float]) -> int:
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] > 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
