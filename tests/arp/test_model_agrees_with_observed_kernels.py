"""The model against what real kernels answered, one case a test."""

import json
from pathlib import Path

import pytest

from strictarp.arp import cases

LINES = (Path(__file__).parent.parent / "data" / "arp_cases.jsonl").read_text(encoding="utf-8").splitlines()
SINGLE = [line for line in LINES if "steps" not in json.loads(line)["case"]]


def observed(line: cases.Line) -> list[tuple[str, str]]:
    return [
        (frame["sha"], frame["sip"]) for step in line.observed for frame in step["arp"] if frame["op"] == 2
    ]


@pytest.mark.parametrize("text", SINGLE, ids=lambda text: json.loads(text)["id"])
def test_the_model_answers_as_the_kernel_did(text: str) -> None:
    result = cases.judge(text)
    assert result.unsupported == ""
    assert sorted(result.answered or []) == sorted(observed(cases.parse_line(text)))


def test_there_are_as_many_cases_as_were_recorded() -> None:
    assert (len(LINES), len(SINGLE)) == (148, 103)


@pytest.mark.parametrize("text", [line for line in LINES if line not in SINGLE][:3])
def test_a_sequence_is_refused_by_name(text: str) -> None:
    assert "steps" in cases.judge(text).unsupported


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cmds": ["tc filter add dev e0 ingress bpf da obj a.o"]}, "tc bpf"),
        (
            {"nft": "table arp t { chain i { type filter hook input priority 0; fib saddr type 2 drop } }"},
            "fib",
        ),
        ({"sysctl": {"conf.e9.arp_ignore": 1}}, "e9"),
        ({"routes": ["10.9.0.0/24 encap mpls 3 dev e0"]}, "encap"),
        ({"devs": [{"name": "e0", "colour": "red"}]}, "colour"),
        ({"devs": [{"name": "e0", "kind": "vlan", "id": 3, "link": "e0"}]}, "itself"),
    ],
)
def test_what_is_not_understood_is_named(change: dict[str, object], named: str) -> None:
    case = {
        "devs": [{"name": "e0", "mac": "02:00:00:00:00:10"}],
        "addrs": [["e0", "10.0.0.1/24"]],
        "pkt": {"in": "e0", "sip": "10.0.0.100", "tip": "10.0.0.1"},
    }
    result = cases.judge(json.dumps({"id": "X", "case": case | change}))
    assert result.answered is None
    assert named in result.unsupported
