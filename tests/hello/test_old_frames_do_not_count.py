"""The sequence rule for HELLO and the window for everything else, against a plain set of numbers."""

import random

from hypothesis import given
from hypothesis import strategies as st

from strictarp.hello.ids import set_hash
from strictarp.hello.replay import WIDTH, Window

numbers = st.lists(st.integers(0, 200) | st.integers(0, 3 * WIDTH), max_size=80)


@given(numbers)
def test_a_frame_counts_once_and_only_within_the_window(seqs: list[int]) -> None:
    window, seen = Window(), set[int]()
    for seq in seqs:
        expected = seq not in seen and seq > max(seen, default=-1) - WIDTH
        assert window.accept(seq) == expected
        if expected:
            seen.add(seq)


@given(st.randoms(use_true_random=False))
def test_a_burst_of_a_thousand_frames_counts_whole_in_whatever_order_it_arrives(
    chance: random.Random,
) -> None:
    window, burst = Window(), list(range(1_000))
    chance.shuffle(burst)
    assert all(window.accept(seq) for seq in burst)
    assert not any(window.accept(seq) for seq in burst)


@given(numbers)
def test_a_hello_counts_only_above_the_last(seqs: list[int]) -> None:
    window, last = Window(), -1
    for seq in seqs:
        assert window.accept_hello(seq) == (seq > last)
        last = max(last, seq)


def test_another_frame_may_overtake_a_hello() -> None:
    window = Window()
    assert window.accept(10)
    assert window.accept_hello(9)
    assert not window.accept(9)


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 9)), st.integers(10, 20), st.integers(0, 9))
def test_a_set_hash_changes_by_one_entry_and_back(owned: dict[int, int], vip: int, epoch: int) -> None:
    more = set_hash(owned | {vip: epoch})
    assert more != set_hash(owned)
    assert more ^ set_hash({vip: epoch}) == set_hash(owned)
    assert set_hash(reversed(list(owned.items()))) == set_hash(owned)
