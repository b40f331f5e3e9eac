"""`rebalance`: an even share for each node, with few moves."""

from __future__ import annotations

import itertools
import sys
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.speaker.balance import Plan, Unit, balance

NODES = ("a", "b", "c", "d")


def unit(number: int, owner: str, *places: str, weight: int = 1) -> Unit:
    addresses = tuple(f"192.0.2.{number}-{each}" for each in range(weight))
    return Unit((f"default/s{number:03}",), addresses, places or ("a", "b", "c"), owner)


def squares(load: dict[str, int]) -> int:
    return sum(each * each for each in load.values())


def test_what_is_even_is_left_alone() -> None:
    even = [unit(number, "abc"[number % 3]) for number in range(7)]
    assert balance(even).steps == ()
    assert balance([]).steps == ()


def test_a_node_that_came_back_empty_gets_its_share_and_nothing_else_moves() -> None:
    plan = balance([unit(number, "ab"[number % 2]) for number in range(12)])
    assert plan.before == {"a": 6, "b": 6, "c": 0}
    assert plan.after == {"a": 4, "b": 4, "c": 4}
    assert len(plan.steps) == 4
    assert {step.to for step in plan.steps} == {"c"}


def test_those_that_have_the_node_earlier_in_their_order_go_there() -> None:
    units = [unit(1, "a", "a", "b"), unit(2, "a", "b", "a"), unit(3, "a", "a", "b")]
    (step,) = balance(units).steps
    assert step.unit.services == ("default/s002",)


def test_a_service_of_two_addresses_moves_whole_and_counts_twice() -> None:
    plan = balance([unit(1, "a", "a", "b", weight=2), unit(2, "a", "a", "b", weight=2)])
    assert plan.after == {"a": 2, "b": 2}
    (step,) = plan.steps
    assert len(step.unit.addresses) == 2


def test_room_is_made_by_a_chain_where_no_single_move_helps() -> None:
    """Only b may be relieved by c, and a only by b."""
    units = [unit(1, "a", "a", "b"), unit(2, "a", "a", "b"), unit(3, "b", "b", "c")]
    plan = balance(units)
    assert plan.after == {"a": 1, "b": 1, "c": 1}
    assert sorted((step.unit.owner, step.to) for step in plan.steps) == [("a", "b"), ("b", "c")]


def test_what_is_where_it_may_not_stay_goes_and_what_nobody_announces_is_left() -> None:
    plan = balance([unit(1, "d", "a", "b"), unit(2, "a", "a", "b"), unit(3, "", "a", "b")])
    ((step),) = plan.steps
    assert (step.unit.owner, step.to) == ("d", "b")


weights = st.sampled_from([1, 1, 1, 2])
some_units = st.lists(
    st.tuples(st.sampled_from(NODES), st.permutations(NODES), st.integers(1, 4), weights), max_size=7
).map(
    lambda drawn: [
        unit(number, owner, *dict.fromkeys([*order[:count], owner]), weight=weight)
        for number, (owner, order, count, weight) in enumerate(drawn)
    ]
)


def best(units: list[Unit]) -> tuple[int, int]:
    """By trying everything: the least sum of squares, and the fewest moves that reach it."""
    tried = []
    for places in itertools.product(*(each.places for each in units)):
        load = Counter[str]()
        for each, place in zip(units, places, strict=True):
            load[place] += each.weight
        moves = sum(place != each.owner for each, place in zip(units, places, strict=True))
        tried.append((squares(load), moves))
    return min(tried)


def reached(plan: Plan) -> int:
    return squares(dict(plan.after))


@settings(max_examples=150)
@given(some_units)
def test_no_plan_evens_out_better_where_all_weigh_the_same(units: list[Unit]) -> None:
    same = [each for each in units if each.weight == 1]
    plan = balance(same)
    least, fewest = best(same)
    assert reached(plan) == least
    assert fewest <= len(plan.steps) <= fewest + 1


@settings(max_examples=150)
@given(some_units)
def test_a_plan_only_moves_where_allowed_counts_right_and_leaves_nothing_to_do(units: list[Unit]) -> None:
    plan = balance(units)
    load = Counter[str]()
    going = {step.unit.services: step.to for step in plan.steps}
    for each in units:
        to = going.get(each.services, each.owner)
        assert to in each.places
        load[to] += each.weight
    assert {node: load[node] for node in plan.after} == plan.after
    assert reached(plan) <= squares(dict(plan.before))
    moved = [
        Unit(each.services, each.addresses, each.places, going.get(each.services, each.owner))
        for each in units
    ]
    assert balance(moved).steps == ()
    assert balance(list(reversed(units))) == plan


def test_thousands_of_services_are_planned_in_few_steps() -> None:
    """Counted, not timed: the work for a move does not grow with the number of units."""
    walked = []
    for size in (90, 900):
        units = [unit(number, "ab"[number % 2]) for number in range(size)]
        calls = Counter[str]()

        def count(frame: object, event: str, _: object, calls: Counter[str] = calls) -> None:
            calls[event] += 1

        sys.setprofile(count)
        try:
            plan = balance(units)
        finally:
            sys.setprofile(None)
        assert plan.after == dict.fromkeys("abc", size // 3)
        assert len(plan.steps) == size // 3
        walked.append(calls["c_call"] / size)
    assert walked[1] < 1.5 * walked[0]
