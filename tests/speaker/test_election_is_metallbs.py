"""Vectors computed by MetalLB's own function."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.speaker.election import order, rank

VECTORS = [
    ("10.0.0.1", ["node-b", "node-a", "node-c"], ["2acae885", "dd41591f", "f949561f"]),
    ("10.0.0.2", ["node-b", "node-c", "node-a"], ["48a0dc88", "c71d9fee", "d12599e5"]),
    ("10.20.30.1", ["node-b", "node-a"], ["0867af7f", "9689afd5"]),
    (
        "10.20.30.1",
        ["edge-b", "worker-a", "edge-a", "worker-b"],
        ["3e7a4988", "734e3469", "c4464d2e", "c907072e"],
    ),
    ("10.20.30.1", ["iris2", "iris1"], ["af6cb4e7", "e42ad61a"]),
    ("10.20.30.2", ["iris1", "iris2"], ["610c5b6d", "6429fb4c"]),
]


@pytest.mark.parametrize(("ip", "nodes", "hashes"), VECTORS)
def test_order_and_hashes_are_metallbs(ip: str, nodes: list[str], hashes: list[str]) -> None:
    assert [candidate.node for candidate in order(dict.fromkeys(sorted(nodes), 0), ip)] == nodes
    assert [rank(node, ip).hex()[:8] for node in nodes] == hashes


def test_a_higher_score_comes_first_whatever_the_hash() -> None:
    assert order({"node-a": 0, "node-b": 0, "node-c": 5}, "10.0.0.1")[0].node == "node-c"


def test_nodes_put_behind_come_last_in_their_own_order_and_stay_candidates() -> None:
    scores = {"node-a": 0, "node-b": 9, "node-c": 0}
    assert [c.node for c in order(scores, "10.0.0.1", {"node-b", "node-a"})] == ["node-c", "node-b", "node-a"]
    assert len(order(scores, "10.0.0.1", set(scores))) == 3


@given(st.sets(st.text(min_size=1, max_size=5), min_size=2, max_size=6), st.data())
def test_taking_a_node_away_does_not_reorder_the_others(nodes: set[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(nodes)))
    before = [c.node for c in order(dict.fromkeys(nodes, 0), "10.0.0.1")]
    after = [c.node for c in order(dict.fromkeys(nodes - {gone}, 0), "10.0.0.1")]
    assert after == [node for node in before if node != gone]
