import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.sysctl.effective import (
    RULES,
    Announce,
    Ignore,
    Rule,
    announce_level,
    effective,
    hides_vips,
    ignore_level,
    strictarp_in_force,
    strictarp_writes,
)

levels = st.integers(-3, 12)


@pytest.mark.parametrize(
    ("key", "all_value", "device_value", "expected"),
    [
        ("arp_ignore", 1, 0, 1),
        ("arp_ignore", 1, 3, 3),
        ("arp_announce", 2, 1, 2),
        ("rp_filter", 1, 2, 2),
        ("arp_accept", 1, 2, 2),
        ("arp_filter", 0, 1, 1),
        ("proxy_arp", 1, 0, 1),
        ("route_localnet", 0, 0, 0),
        ("arp_evict_nocarrier", 1, 0, 0),
        ("arp_evict_nocarrier", 1, 1, 1),
        ("forwarding", 1, 0, 0),
    ],
)
def test_each_key_is_combined_by_its_own_rule(
    key: str, all_value: int, device_value: int, expected: int
) -> None:
    assert effective(key, all_value, device_value) == expected


def test_a_key_without_a_known_rule_is_not_guessed() -> None:
    with pytest.raises(KeyError):
        effective("tag", 0, 0)


@given(st.sampled_from(sorted(RULES)), levels, levels)
def test_only_keys_of_the_device_ignore_all(key: str, all_value: int, device_value: int) -> None:
    value = effective(key, all_value, device_value)
    if RULES[key] is Rule.DEVICE:
        assert value == device_value
    elif RULES[key] is Rule.MAX:
        assert value in (all_value, device_value)
        assert value >= max(all_value, device_value)
    else:
        assert value == effective(key, device_value, all_value)
        assert value in (0, 1)


def test_reserved_and_unknown_levels_mean_zero() -> None:
    assert [ignore_level(n) for n in (-1, 0, 4, 5, 6, 7, 9, 100)] == [Ignore.ANSWER] * 8
    assert [ignore_level(n).value for n in (1, 2, 3, 8)] == [1, 2, 3, 8]
    assert [announce_level(n) for n in (-1, 0, 3, 4, 100)] == [Announce.ANY_LOCAL] * 5


def test_vips_are_hidden_at_one_two_and_eight_alone() -> None:
    assert [n for n in range(-5, 20) if hides_vips(n)] == [1, 2, 8]


@pytest.mark.parametrize(
    ("ignore", "announce", "reason"),
    [
        ((0, 0), (0, 0), "arp_ignore=0 in conf.all is effective: VIPs are answered"),
        ((1, 3), (2, 0), "the interface's own arp_ignore=3 overrides all=1: VIPs are answered"),
        ((1, 9), (2, 0), "the interface's own arp_ignore=9 overrides all=1: VIPs are answered"),
        ((1, 0), (0, 1), "the interface's own arp_announce=1 overrides all=0: VIPs are used as sender"),
        ((1, 0), (2, 3), "the interface's own arp_announce=3 overrides all=2: VIPs are used as sender"),
        ((1, 0), (1, 1), "arp_announce=1 in conf.all is effective: VIPs are used as sender"),
    ],
)
def test_what_defeats_strictarp_is_named(
    ignore: tuple[int, int], announce: tuple[int, int], reason: str
) -> None:
    verdict = strictarp_in_force(*ignore, all_announce=announce[0], dev_announce=announce[1])
    assert not verdict
    assert verdict.reason == reason


@pytest.mark.parametrize("ignore", [(1, 0), (0, 1), (1, 2), (2, 1), (0, 8), (1, 8)])
@pytest.mark.parametrize("announce", [(2, 0), (0, 2), (2, 1)])
def test_strictarp_may_come_from_all_or_from_the_interface(
    ignore: tuple[int, int], announce: tuple[int, int]
) -> None:
    assert strictarp_in_force(*ignore, all_announce=announce[0], dev_announce=announce[1])


@given(levels, levels)
def test_after_the_writes_strictarp_holds_on_an_interface_of_its_own_zero(ignore: int, announce: int) -> None:
    writes = strictarp_writes(ignore, announce)
    after_ignore, after_announce = writes.get("arp_ignore", ignore), writes.get("arp_announce", announce)
    assert strictarp_in_force(after_ignore, 0, all_announce=after_announce, dev_announce=0)
    assert strictarp_writes(after_ignore, after_announce) == {}


def test_a_stricter_setting_is_not_lowered() -> None:
    assert strictarp_writes(2, 2) == {}
    assert strictarp_writes(8, 0) == {"arp_announce": 2}
    assert strictarp_writes(0, 0) == {"arp_ignore": 1, "arp_announce": 2}
