"""What the status pages of our daemons say: `/strictarp` of the proxy, `/metrics` of the speaker. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from strictarp.cluster.nodes import Status, read_status
from strictarp.doctor.objects import ProxyAnswer, SpeakerAnswer

Answer: TypeAlias = "tuple[int, bytes] | str"
"""HTTP status and body, or in words why there was none."""
_SAMPLE = re.compile(r"([a-z_]+)(?:\{([^{}]*)\})? ([0-9.e+]+)\n?")
_LABEL = re.compile(r'([a-z_]+)="([^"\\]*)"')


def proxy_answer(node: str, answer: Answer) -> ProxyAnswer | None:
    """What a node's proxy says; None if nothing answered there."""
    if isinstance(answer, str):
        return None
    status = read_status(answer)
    if isinstance(status, Status):
        return ProxyAnswer(node, True, status.requested, status.in_force, status.reason)
    return ProxyAnswer(node, told=False)


def speaker_answer(node: str, answer: Answer) -> SpeakerAnswer | None:
    """What a node's speaker says; None if nothing answered there, or something else did."""
    if isinstance(answer, str) or answer[0] != 200:
        return None
    reports: dict[str, int] = {}
    refused: dict[str, int] = {}
    single: dict[str, int] = {}
    for name, labels, value in _samples(answer[1]):
        match name:
            case "strictarp_speaker_reports_total":
                _count(reports, labels.get("kind", ""), value)
            case "strictarp_speaker_frames_refused_total":
                _count(refused, labels.get("why", ""), value)
            case _:
                single[name] = value
    if "strictarp_speaker_has_key" not in single:
        return None
    members = single.get("strictarp_speaker_members", 0)
    return SpeakerAnswer(node, single["strictarp_speaker_has_key"] != 0, members, reports, refused)


def _count(into: dict[str, int], name: str, value: int) -> None:
    into[name] = into.get(name, 0) + value


def _samples(body: bytes) -> Iterator[tuple[str, Mapping[str, str], int]]:
    """The samples of our names in the text format of metrics; other lines are passed over."""
    for line in body.decode("utf-8", "replace").splitlines():
        match = _SAMPLE.fullmatch(line) if line.startswith("strictarp_speaker_") else None
        if match is None:
            continue
        try:
            value = int(float(match[3]))
        except (ValueError, OverflowError):
            continue
        yield match[1], dict(_LABEL.findall(match[2] or "")), value
