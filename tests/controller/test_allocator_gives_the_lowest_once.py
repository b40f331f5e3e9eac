"""The allocator against a model that simply looks at all addresses."""

import ipaddress
import random
import sys
from collections.abc import Callable
from itertools import pairwise
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.controller.addresses import Runs, added, count_within, next_free, removed
from strictarp.controller.allocator import (
    Holding,
    Refused,
    Request,
    Sharing,
    State,
    allocate,
    assign,
    extend,
    release,
)
from strictarp.controller.pools import Pool
from strictarp.controller.shelves import Shelves
from strictarp.kube.ranges import Ip, ip_text
from support.controller_objects import pool_object, sound_pools


def v4(last: int) -> Ip:
    return 4, int(ipaddress.IPv4Address("192.0.2.0")) + last


def v6(last: int) -> Ip:
    return 6, int(ipaddress.IPv6Address("2001:db8::")) + last


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60))
def test_runs_are_a_set_of_numbers(operations: list[tuple[bool, int]]) -> None:
    runs: Runs = ()
    model: set[int] = set()
    for add, number in operations:
        runs = added(runs, number) if add else removed(runs, number)
        (model.add if add else model.discard)(number)
        assert {each for first, last in runs for each in range(first, last + 1)} == model
        assert all(one[1] + 1 < other[0] for one, other in pairwise(runs))
        for start in range(14):
            assert next_free(runs, start) == min(set(range(start, 30)) - model)
            assert count_within(runs, start, start + 3) == len(model & set(range(start, start + 4)))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 600), st.integers(0, 3)), max_size=80))
def test_shelves_are_a_mapping_whose_older_values_stay(steps: list[tuple[bool, int, int]]) -> None:
    shelves: Shelves[int, int] = Shelves()
    model: dict[int, int] = {}
    older: list[tuple[Shelves[int, int], dict[int, int]]] = []
    for add, key, value in steps:
        older.append((shelves, dict(model)))
        if add:
            shelves, model[key] = shelves.put(key, value), value
        elif key in model:
            shelves = shelves.without(key)
            del model[key]
    assert all(one == other and len(one) == len(other) for one, other in [*older, (shelves, model)])
    with pytest.raises(KeyError):
        shelves.without(1000)


POOLS = sound_pools(
    pool_object("a", "192.0.2.20-192.0.2.22", "192.0.2.0/31", "2001:db8::/127"),
    pool_object("b", "192.0.2.8-192.0.2.9", avoidBuggyIPs=True),
    pool_object("manual", "192.0.2.40/31", autoAssign=False),
    pool_object("team", "192.0.2.50/31", serviceAllocation={"namespaces": ["team"], "priority": 5}),
    pool_object("six", "2001:db8::100/126"),
)
ORDER = [v4(20), v4(21), v4(22), v4(0), v4(1), v4(8), v4(9)]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Request | None]]:
    """Requests (or, None, releases) of a handful of Services."""
    steps: list[tuple[str, Request | None]] = []
    for _ in range(draw(st.integers(1, 40))):
        key = f"ns/{draw(st.sampled_from('abcdefghij'))}"
        if draw(st.booleans()):
            steps.append((key, None))
            continue
        families = draw(st.sampled_from([(4,), (6,), (4, 6), (6, 4)]))
        sharing = Sharing(
            draw(st.sampled_from(["", "", "s", "t"])),
            draw(st.sampled_from(["", "local"])),
            frozenset({("TCP", draw(st.integers(1, 3)))}),
        )
        steps.append(
            (
                key,
                Request(
                    key,
                    draw(st.sampled_from(["default", "team"])),
                    families,
                    prefer_dual=draw(st.booleans()),
                    pool=draw(st.sampled_from(["", "", "a", "manual", "nowhere"])),
                    ips=draw(st.sampled_from([(), (), (v4(8),), (v4(200),), (v4(0), v6(0))])),
                    sharing=sharing,
                ),
            )
        )
    return steps


def _play(steps: list[tuple[str, Request | None]]) -> State:
    state = State()
    for key, request in steps:
        if request is None:
            state = release(state, key)
        elif key not in state.holdings:
            before = state
            state, outcome = allocate(state, POOLS, request)
            assert isinstance(outcome, Holding) or state is before
    return state


@settings(max_examples=120, deadline=None)
@given(histories())
def test_no_address_is_given_twice_unless_it_is_shared_by_the_rules(
    steps: list[tuple[str, Request | None]],
) -> None:
    state = _play(steps)
    used: dict[Ip, list[str]] = {}
    for key, held in state.holdings.items():
        assert len({ip[0] for ip in held.ips}) == len(held.ips)
        assert [pool.name for pool in POOLS if all(pool.holds(ip) for ip in held.ips)] == [held.pool]
        for ip in held.ips:
            used.setdefault(ip, []).append(key)
    for keys in used.values():
        shares = [state.holdings[key].sharing for key in keys]
        if len(shares) > 1:
            assert shares[0].key
            assert len({(share.key, share.backend) for share in shares}) == 1
            assert len(frozenset.union(*(share.ports for share in shares))) == len(shares)
    assert {ip: set(keys) for ip, keys in used.items()} == {ip: set(keys) for ip, keys in state.users.items()}
    under = {
        (held.sharing.key, ip) for held in state.holdings.values() for ip in held.ips if held.sharing.key
    }
    assert {(name, ip) for name, ips in state.shared.items() for ip in ips} == under
    assert all(state.shared.values())
    flat = {(version, n) for version in (4, 6) for a, b in state.runs[version] for n in range(a, b + 1)}
    assert flat == set(used)


@settings(max_examples=60, deadline=None)
@given(histories())
def test_the_lowest_free_address_comes_first_items_as_listed(steps: list[tuple[str, Request | None]]) -> None:
    state = _play(steps)
    _, outcome = allocate(state, POOLS, Request("ns/new", "default", (4,)))
    free = [ip for ip in ORDER if ip not in state.users]
    if free:
        assert isinstance(outcome, Holding)
        assert outcome.ips == (free[0],)
    else:
        assert outcome == Refused("no available IPs")


def _all(pools: tuple[Pool, ...], count: int, **request: object) -> list[Holding | Refused]:
    state, outcomes = State(), []
    for index in range(count):
        state, outcome = allocate(
            state,
            pools,
            Request(f"ns/{index}", **{"namespace": "default", "families": (4,), **request}),  # type: ignore[arg-type]
        )
        outcomes.append(outcome)
    return outcomes


def test_buggy_addresses_are_left_out_when_asked() -> None:
    pools = sound_pools(pool_object("p", "192.0.2.254-192.0.3.1", avoidBuggyIPs=True))
    given_ = [outcome.ips[0] for outcome in _all(pools, 3) if isinstance(outcome, Holding)]
    assert [ip_text(ip) for ip in given_] == ["192.0.2.254", "192.0.3.1"]


def test_reserved_pools_come_first_by_priority_and_are_for_their_own_only() -> None:
    pools = sound_pools(
        pool_object("z", "192.0.2.1/32", serviceAllocation={"namespaces": ["team"], "priority": 1}),
        pool_object("a", "192.0.2.2/32", serviceAllocation={"namespaces": ["team"]}),
        pool_object("m", "192.0.2.3/32", serviceAllocation={"namespaces": ["team"], "priority": 7}),
        pool_object("open", "192.0.2.4/32"),
    )
    names = [each.pool for each in _all(pools, 5, namespace="team") if isinstance(each, Holding)]
    assert names == ["z", "m", "a", "open"]
    assert [each.pool for each in _all(pools, 5) if isinstance(each, Holding)] == ["open"]
    _, refused = allocate(State(), pools, Request("ns/x", "default", (4,), pool="z"))
    assert refused == Refused("IPAddressPool z is not for this Service: see its spec.serviceAllocation")


def test_both_families_come_from_one_pool_or_the_primary_alone_where_preferred() -> None:
    pools = sound_pools(
        pool_object("four", "192.0.2.1/32"), pool_object("both", "192.0.2.9/32", "2001:db8::9/128")
    )
    strict = _all(pools, 2, families=(6, 4))
    assert isinstance(strict[0], Holding)
    assert (strict[0].ips, strict[0].pool) == ((v4(9), v6(9)), "both")
    assert strict[1] == Refused("no available IPs")
    relaxed = _all(pools, 2, families=(4, 6), prefer_dual=True)
    assert isinstance(relaxed[1], Holding)
    assert relaxed[1].ips == (v4(1),)


def test_a_second_family_is_added_from_the_same_pool_only() -> None:
    four, both = pool_object("p", "192.0.2.1/32"), pool_object("p", "192.0.2.1/32", "2001:db8::1/128")
    other = pool_object("q", "2001:db8::2/128")
    request = Request("ns/a", "default", (4, 6), prefer_dual=True)
    state, _ = allocate(State(), sound_pools(four, other), request)
    _, refused = extend(state, sound_pools(four, other), request)
    assert isinstance(refused, Refused)
    _, held = extend(state, sound_pools(both, other), request)
    assert isinstance(held, Holding)
    assert held.ips == (v4(1), v6(1))


@pytest.mark.parametrize(
    ("theirs", "ours", "reason"),
    [
        (Sharing("k", "", frozenset({("TCP", 80)})), Sharing("k", "", frozenset({("UDP", 80)})), None),
        (Sharing("k"), Sharing("other"), "both do not name the same metallb.io/allow-shared-ip"),
        (Sharing(""), Sharing(""), "both do not name the same metallb.io/allow-shared-ip"),
        (Sharing("k", "local:a=b"), Sharing("k"), "externalTrafficPolicy or selectors differ"),
        (
            Sharing("k", "", frozenset({("TCP", 80)})),
            Sharing("k", "", frozenset({("TCP", 80)})),
            "which has port tcp/80 already",
        ),
    ],
)
def test_an_address_is_shared_by_metallbs_rules(theirs: Sharing, ours: Sharing, reason: str | None) -> None:
    state, _ = allocate(State(), POOLS, Request("ns/a", "default", (4,), sharing=theirs))
    _, outcome = assign(state, POOLS, Request("ns/b", "default", (4,), sharing=ours), (v4(20),))
    if reason is None:
        assert isinstance(outcome, Holding)
    else:
        assert isinstance(outcome, Refused)
        assert outcome.reason.startswith("192.0.2.20 is in use by Service ns/a, ")
        assert outcome.reason.endswith(reason)


def _lines_run(function: Callable[[], object]) -> int:
    """How many lines of the controller a call runs: a cost that no other load on the machine changes."""
    count = 0

    def trace(frame: FrameType, event: str, _arg: object) -> Callable[..., object] | None:
        nonlocal count
        if "strictarp/controller" not in frame.f_code.co_filename:
            return None  # such as what the garbage collector calls
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    ("small", "large", "version"),
    [("192.0.2.0/24", "10.0.0.0/8", 4), ("2001:db8::/120", "2001:db8::/64", 6)],
)
@pytest.mark.parametrize("used", [0, 1, 200])
def test_a_slash_64_costs_what_a_slash_24_costs(small: str, large: str, version: int, used: int) -> None:
    def cost(text: str) -> tuple[int, int, int]:
        pools, state, chance = sound_pools(pool_object("p", text)), State(), random.Random(1)
        for index in range(used):
            state, _ = allocate(state, pools, Request(f"ns/{index}", "default", (version,)))
            if chance.random() < 0.3:
                state = release(state, f"ns/{chance.randrange(index + 1)}")
        new = Request("ns/new", "default", (version,))
        after, held = allocate(state, pools, new)
        assert isinstance(held, Holding)
        return (
            _lines_run(lambda: allocate(state, pools, new)),
            _lines_run(lambda: release(after, "ns/new")),
            _lines_run(lambda: pools[0].counters(after.runs)),
        )

    assert cost(large) == cost(small)


def test_that_nothing_is_free_costs_the_same_in_any_pool() -> None:
    def cost(text: str, version: int) -> int:
        pools = sound_pools(pool_object("p", text))
        (item,) = pools[0].ranges
        full = State(runs={4: (), 6: (), version: ((item.first, item.last),)})
        new = Request("ns/new", "default", (version,))
        assert isinstance(allocate(full, pools, new)[1], Refused)
        return _lines_run(lambda: allocate(full, pools, new))

    assert cost("2001:db8::/64", 6) == cost("192.0.2.0/24", 4) == cost("192.0.2.1/32", 4)


def test_who_joins_a_shared_address_pays_once_for_each_who_has_it() -> None:
    def cost(sharers: int) -> int:
        state = State()
        *_, last = requests = [
            Request(f"ns/{n}", "default", (4,), sharing=Sharing("k", "", frozenset({("TCP", n)})))
            for n in range(sharers + 1)
        ]
        pools = sound_pools(pool_object("p", "192.0.2.1/32"))
        for request in requests[:-1]:
            state, _ = allocate(state, pools, request)
        assert len(state.users[v4(1)]) == sharers
        return _lines_run(lambda: allocate(state, pools, last))

    assert cost(120) < 2.2 * cost(60)


def test_what_the_pools_forbid_is_told_before_what_others_have() -> None:
    state, _ = allocate(State(), POOLS, Request("ns/a", "default", (4,), ips=(v4(8),)))
    both = Request("ns/b", "default", (4, 6), ips=(v4(8), (6, 1)))
    _, refused = allocate(state, POOLS, both)
    assert isinstance(refused, Refused)
    assert refused.reason.startswith("::1 lies in no IPAddressPool")


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_who_is_in_the_way_is_told_alike_whoever_came_first(order: str) -> None:
    state = State()
    for port, name in enumerate(order):
        sharing = Sharing("k", "", frozenset({("TCP", port)}))
        request = Request(f"ns/{name}", "default", (4,), ips=(v4(8),), sharing=sharing)
        state, _ = allocate(state, POOLS, request)
    _, refused = allocate(state, POOLS, Request("ns/c", "default", (4,), ips=(v4(8),)))
    assert isinstance(refused, Refused)
    assert "in use by Service ns/a," in refused.reason


def test_of_many_pools_a_refusal_names_a_few() -> None:
    many = sound_pools(
        *(pool_object(f"p{n:03}", *(f"10.{n}.{m}.0/24" for m in range(50))) for n in range(100))
    )
    _, refused = allocate(State(), many, Request("ns/a", "default", (4,), ips=(v4(8),)))
    assert isinstance(refused, Refused)
    assert refused.reason.startswith("192.0.2.8 lies in no IPAddressPool; the pools are: p000 (10.0.0.0/24, ")
    assert refused.reason.endswith("and 42 more); and 92 more")
    assert len(refused.reason) < 1500
