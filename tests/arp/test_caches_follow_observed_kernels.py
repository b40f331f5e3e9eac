"""Recorded sequences on the models of the neighbour table, of senders and of sysctls."""

import json
from pathlib import Path

import pytest

from strictarp.arp import cases
from support.replaying import replayed, without_times

LINES = (Path(__file__).parent.parent / "data" / "arp_cases.jsonl").read_text(encoding="utf-8").splitlines()
SEQUENCES = [line for line in LINES if "steps" in json.loads(line)["case"]]


@pytest.mark.parametrize("text", SEQUENCES, ids=lambda text: json.loads(text)["id"])
def test_a_sequence_ends_as_it_did_on_the_kernel(text: str) -> None:
    line = cases.parse_line(text)
    assert replayed(line) == without_times(line.observed)


def test_all_sequences_are_replayed() -> None:
    assert len(SEQUENCES) == 45
