"""IPAddressPools: what is read, and what is refused with which words."""

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.controller.pools import MAX_COUNT, parse_pools
from strictarp.kube.objects import Namespace
from strictarp.kube.ranges import BITS, RangeFault, parse_range
from support.controller_objects import pool_object, sound_pools


def _ends(text: str) -> tuple[str, str]:
    found = parse_range(text)
    kind = ipaddress.IPv4Address if found.version == 4 else ipaddress.IPv6Address
    return str(kind(found.first)), str(kind(found.last))


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("192.0.2.0/30", ("192.0.2.0", "192.0.2.3")),
        ("192.0.2.7/24", ("192.0.2.0", "192.0.2.255")),
        ("192.0.2.7/32", ("192.0.2.7", "192.0.2.7")),
        ("192.0.2.7-192.0.2.9", ("192.0.2.7", "192.0.2.9")),
        ("192.0.2.7 - 192.0.2.7", ("192.0.2.7", "192.0.2.7")),
        ("2001:db8::/64", ("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff")),
        ("::1/128", ("::1", "::1")),
        ("2001:db8::5-2001:db8::a", ("2001:db8::5", "2001:db8::a")),
    ],
)
def test_cidrs_and_ranges_are_taken_literally(text: str, ends: tuple[str, str]) -> None:
    assert _ends(text) == ends


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("192.0.2.7", "has no prefix length; write 192.0.2.7/32 for"),
        ("2001:db8::7", "has no prefix length; write 2001:db8::7/128 for"),
        (" 192.0.2.0/24", "is no CIDR"),
        ("192.0.2.0/33", "the prefix length must be 0 to 32"),
        ("192.0.2.0/255.255.255.0", "the prefix length must be 0 to 32"),
        ("192.0.02.0/24", "is no CIDR"),
        ("::ffff:192.0.2.1/128", "is no CIDR"),
        ("fe80::1%eth0/64", "is no CIDR"),
        ("192.0.2.9-192.0.2.7", "ends before it starts"),
        ("192.0.2.9-2001:db8::1", "mixes IPv4 and IPv6"),
        ("192.0.2.9-", "unreadable end"),
        ("nonsense-192.0.2.1", "unreadable start"),
        ("192.0.2.1-192.0.2.2-192.0.2.3", "is no range"),
        ("", "is neither a CIDR nor a range; write 192.0.2.0/24 or 192.0.2.10-192.0.2.20"),
        ("(gone)", "is neither a CIDR nor a range"),
    ],
)
def test_an_unparsable_item_is_named_with_pool_and_field(text: str, message: str) -> None:
    _, faults = parse_pools([pool_object("lab", "198.51.100.0/24", text)])
    assert len(faults) == 1
    assert faults[0].startswith("IPAddressPool lab: spec.addresses: ")
    assert message in faults[0]


def test_an_unparsable_item_that_is_listed_twice_is_told_once() -> None:
    _, faults = parse_pools([pool_object("lab", "nonsense", "192.0.2.0/28", "nonsense")])
    assert len(faults) == 1


@given(st.text(max_size=20) | st.text("0123456789abcdef.:/- %", max_size=40))
def test_only_its_own_error_escapes_the_parser(text: str) -> None:
    try:
        found = parse_range(text)
    except RangeFault:
        return
    assert 0 <= found.first <= found.last < 1 << BITS[found.version]


def test_overlaps_within_and_across_pools_name_both() -> None:
    _, faults = parse_pools(
        [pool_object("b", "192.0.2.0/28", "192.0.2.8/32"), pool_object("a", "192.0.2.14-192.0.2.20")]
    )
    assert faults == (
        "IPAddressPool b: spec.addresses: 192.0.2.8/32 overlaps 192.0.2.0/28 of the same pool; "
        "an address must be in one item only",
        "IPAddressPool b: spec.addresses: 192.0.2.0/28 overlaps 192.0.2.14-192.0.2.20 of IPAddressPool a; "
        "an address must be in one item only",
    )


_items = st.tuples(st.sampled_from([4, 6]), st.integers(0, 40), st.integers(0, 12))


@given(st.lists(_items, max_size=7))
def test_overlaps_are_found_exactly_when_addresses_are_in_two_items(
    items: list[tuple[int, int, int]],
) -> None:
    texts, sets = [], []
    for version, first, length in items:
        base = ipaddress.ip_address("192.0.2.0" if version == 4 else "2001:db8::")
        texts.append(f"{base + first}-{base + first + length}")
        sets.append({(version, number) for number in range(first, first + length + 1)})
    objects = [pool_object(f"p{index}", text) for index, text in enumerate(texts)]
    _, faults = parse_pools(objects)
    disjoint = all(not one & other for index, one in enumerate(sets) for other in sets[:index])
    assert (faults == ()) == disjoint
    assert faults == parse_pools(reversed(objects))[1]


@pytest.mark.parametrize(
    ("allocation", "message"),
    [
        ({"namespaces": ["a", "a"]}, "spec.serviceAllocation.namespaces: 'a' is listed twice"),
        (
            {"serviceSelectors": [{"matchExpressions": [{"key": "a", "operator": "Near"}]}]},
            "spec.serviceAllocation.serviceSelectors[0].matchExpressions[0].operator: 'Near'",
        ),
        (
            {"namespaceSelectors": [{"matchLabels": {"a": "b"}}] * 2},
            "spec.serviceAllocation.namespaceSelectors[1]: the same selector is listed twice",
        ),
        (
            {
                "serviceSelectors": [
                    {"matchExpressions": [{"key": "a", "operator": "In", "values": values}]}
                    for values in (["x", "y"], ["y", "x"])
                ]
            },
            "spec.serviceAllocation.serviceSelectors[1]: the same selector is listed twice",
        ),
        (
            {
                "serviceSelectors": [
                    {"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "x"]}]}
                ]
            },
            "serviceSelectors[0].matchExpressions[0].values: a value is listed twice",
        ),
        (
            {"serviceSelectors": [{"matchExpressions": [{"key": "a", "operator": "Exists"}] * 2}]},
            "serviceSelectors[0].matchExpressions[1]: the same expression is listed twice",
        ),
        (
            {"namespaceSelectors": [{"matchLabels": {"no key!": "b"}}]},
            "spec.serviceAllocation.namespaceSelectors[0].matchLabels: 'no key!' is no label key",
        ),
    ],
)
def test_faults_of_the_allocation_name_their_field(allocation: dict[str, object], message: str) -> None:
    _, faults = parse_pools([pool_object("lab", "192.0.2.0/24", serviceAllocation=allocation)])
    assert len(faults) == 1
    assert message in faults[0]


def test_a_pool_without_addresses_is_refused() -> None:
    assert parse_pools([pool_object("lab")])[1] == (
        "IPAddressPool lab: spec.addresses: empty; list at least one CIDR or range",
    )


def test_namespaces_are_those_listed_and_those_selected() -> None:
    namespaces = [
        msgspec.convert({"metadata": {"name": name, "labels": {"team": name[0]}}}, Namespace)
        for name in ("a1", "a2", "b1")
    ]
    allocation = {"namespaces": ["x"], "namespaceSelectors": [{"matchLabels": {"team": "a"}}]}
    (pool,) = sound_pools(
        pool_object("lab", "192.0.2.0/24", serviceAllocation=allocation), namespaces=namespaces
    )
    assert pool.namespaces == {"x", "a1", "a2"}
    assert [pool.suits(name, {}) for name in ("x", "a2", "b1")] == [True, True, False]


@given(st.integers(0, 1 << 16), st.integers(0, 2000), st.booleans())
def test_capacity_counts_what_can_be_given(first: int, length: int, avoid: bool) -> None:
    base = ipaddress.IPv4Address("198.18.0.0")
    item = f"{base + first}-{base + first + length}"
    (pool,) = sound_pools(pool_object("lab", item, avoidBuggyIPs=avoid))
    numbers = range(int(base) + first, int(base) + first + length + 1)
    assert pool.capacity(4) == sum(pool.holds((4, number)) for number in numbers)
    assert pool.capacity(6) == 0


def test_priorities_of_any_sign_are_taken_as_metallb_takes_them() -> None:
    assert (
        sound_pools(pool_object("lab", "192.0.2.0/24", serviceAllocation={"priority": -3}))[0].priority == -3
    )


def test_namespace_selectors_that_select_nothing_invite_nobody_but_let_in_who_asks() -> None:
    selectors = [{"matchLabels": {"team": "gone"}}]
    (pool,) = sound_pools(
        pool_object("lab", "192.0.2.0/24", serviceAllocation={"namespaceSelectors": selectors})
    )
    assert (pool.invites("any", {}), pool.suits("any", {})) == (False, True)
    (alone,) = sound_pools(pool_object("lab", "192.0.2.0/24", serviceAllocation={"priority": 1}))
    assert alone.invites("any", {})


def test_a_namespace_has_its_name_as_a_label() -> None:
    namespaces = [msgspec.convert({"metadata": {"name": name}}, Namespace) for name in ("a", "b")]
    selectors = [{"matchLabels": {"kubernetes.io/metadata.name": "b"}}]
    (pool,) = sound_pools(
        pool_object("lab", "192.0.2.0/24", serviceAllocation={"namespaceSelectors": selectors}),
        namespaces=namespaces,
    )
    assert pool.namespaces == {"b"}


@pytest.mark.parametrize(
    ("items", "free"),
    [
        (("2001:db8::/64",), MAX_COUNT),
        (("2001:db8::/65",), MAX_COUNT),
        (("2001:db8::/66",), 1 << 62),
        (("2001:db8::/64", "2001:db8:1::/127"), MAX_COUNT),
        (("2001:db8:1::/127", "2001:db8::/64"), MAX_COUNT),
        (("2001:db8:1::/66", "2001:db8:2::/66"), MAX_COUNT),
        (("2001:db8:1::/127",), 2),
    ],
)
def test_counters_stop_at_the_largest_number_of_the_api(items: tuple[str, ...], free: int) -> None:
    (pool,) = sound_pools(pool_object("six", *items))
    assert pool.counters({4: (), 6: ()}).available_ipv6 == free
