"""The table's text on the running kernel's nft, and what nft lists read back."""

import itertools
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.lab import namespaces
from strictarp.proxy.config import Config, DetectLocal
from strictarp.proxy.fields import parse_network
from strictarp.proxy.nft_listing import BadListing, Listing, parse_listing, parse_listings
from strictarp.proxy.nftables import FAMILIES, SETS, TABLE, change_elements, keep_nothing, whole_table
from strictarp.proxy.operations import ChangeSets, Element

POD_CIDR = (parse_network("198.51.100.16/28"),)
CONFIGS = [
    Config(),
    Config(masquerade_all=True, masquerade_bit=31),
    Config(detect_local=DetectLocal("ClusterCIDR", (parse_network("198.51.100.0/24"),)), masquerade_bit=0),
    Config(detect_local=DetectLocal("NodeCIDR")),
    Config(detect_local=DetectLocal("BridgeInterface", (), "cbr0")),
    Config(detect_local=DetectLocal("InterfaceNamePrefix", (), "veth")),
]
PLACE = "192.0.2.100 . tcp . 80"
ELEMENTS: set[Element] = {
    ("clusterIP", "203.0.113.10 . udp . 53"),
    ("externalIP", "192.0.2.102 . sctp . 7"),
    ("hairpin", "198.51.100.18 . tcp . 8080 . 198.51.100.18"),
    ("loadBalancer", PLACE),
    ("loadBalancerFirewall", PLACE),
    ("loadBalancerSource", f"{PLACE} . 10.0.0.0/8"),
    ("loadBalancerSource", f"{PLACE} . 192.0.2.1/32"),
    ("loadBalancerSource", "192.0.2.101 . tcp . 80 . 0.0.0.0/0"),
    ("nodePort", "192.0.2.11 . tcp . 30080"),
    ("vips", "192.0.2.100"),
    ("clusterIP", "2001:db8::10 . udp . 53"),
    ("hairpin", "2001:db8::18 . tcp . 8080 . 2001:db8::18"),
    ("loadBalancerSource", "2001:db8::100 . tcp . 80 . 2001:db8:1::/48"),
    ("loadBalancerSource", "2001:db8::100 . tcp . 80 . 2001:db8::1/128"),
    ("loadBalancerSource", "2001:db8::101 . tcp . 80 . ::/0"),
    ("vips", "2001:db8::100"),
}


@pytest.fixture
def space() -> Iterator[namespaces.Namespace]:
    made = namespaces.create("nft")
    yield made
    made.close()


def nft(space: namespaces.Namespace, *argv: str, text: str = "") -> bytes:
    with namespaces.entered(space):
        done = subprocess.run(["nft", *argv], input=text.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def listed(space: namespaces.Namespace) -> Listing:
    return parse_listings(nft(space, "-j", "list", "table", family, TABLE) for family in FAMILIES.values())


@pytest.mark.netns
@pytest.mark.parametrize("config", CONFIGS)
def test_it_loads_twice_and_its_elements_and_rules_are_read_back(
    space: namespaces.Namespace, config: Config
) -> None:
    text = whole_table(config, POD_CIDR, ELEMENTS)
    nft(space, "-f", "-", text=text)
    first = listed(space)
    nft(space, "-f", "-", text=text)
    assert listed(space) == first
    assert first.elements == ELEMENTS
    assert len(first.rules) > 10


@pytest.mark.netns
def test_elements_come_and_go_in_one_transaction_also_overlapping_intervals(
    space: namespaces.Namespace,
) -> None:
    nft(space, "-f", "-", text=whole_table(Config(), (), ELEMENTS))
    before = listed(space)
    narrower = ("loadBalancerSource", f"{PLACE} . 10.1.0.0/16")
    wider = ("loadBalancerSource", f"{PLACE} . 10.0.0.0/8")
    vip = ("vips", "192.0.2.103")
    nft(space, "-f", "-", text=change_elements(ChangeSets(add=(narrower, vip), remove=(wider,))))
    after = listed(space)
    assert after.elements == (ELEMENTS - {wider}) | {narrower, vip}
    assert after.rules == before.rules


@pytest.mark.netns
@pytest.mark.parametrize("family", FAMILIES.values())
def test_a_changed_rule_is_noticed(space: namespaces.Namespace, family: str) -> None:
    nft(space, "-f", "-", text=whole_table(Config(), (), ()))
    before = listed(space)
    nft(space, "flush", "chain", family, TABLE, "postrouting")
    assert listed(space).rules != before.rules


@pytest.mark.parametrize("width", FAMILIES)
def test_every_set_is_used_by_a_rule_of_each_family(width: int) -> None:
    text = whole_table(Config(), (), (), [width])
    assert [name for name in SETS if f"@{name}" not in text] == []


def test_each_detector_has_its_own_match_for_cluster_ips() -> None:
    matches = [
        line.split("ip daddr")[0].strip()
        for config in CONFIGS[2:]
        for line in whole_table(config, POD_CIDR, (), [4]).splitlines()
        if "@clusterIP goto" in line
    ]
    assert matches == [
        "ip saddr != 198.51.100.0/24",
        "ip saddr != 198.51.100.16/28",
        'iifname != "cbr0"',
        'iifname != "veth*"',
    ]
    assert "ip saddr . meta l4proto . th dport @clusterIP goto" in whole_table(Config(), (), ())


@pytest.mark.netns
def test_what_is_kept_is_left_to_others_on_request_whether_a_table_is_there_or_not(
    space: namespaces.Namespace,
) -> None:
    nft(space, "-f", "-", text=whole_table(Config(), (), ELEMENTS))
    before = listed(space)
    for _ in range(2):
        nft(space, "-f", "-", text=keep_nothing())
        assert b"dnat" not in nft(space, "list", "ruleset")
    nft(space, "delete", "table", "ip", TABLE)
    nft(space, "-f", "-", text=keep_nothing())
    nft(space, "-f", "-", text=whole_table(Config(), (), ELEMENTS))
    assert listed(space) == before


def test_no_table_is_an_empty_listing_and_nonsense_is_refused() -> None:
    assert parse_listing(b"").elements == frozenset()
    for text in (
        b"{",
        b"[]",
        b'{"nftables": 5}',
        b'{"nftables": [{"set": {"name": "vips", "elem": [5.5, {}]}}]}',
    ):
        with pytest.raises(BadListing):
            parse_listing(text)


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_listing_is_a_listing_or_bad(noise: bytes, at: int, flip: int) -> None:
    whole = b'{"nftables": [{"set": {"name": "vips", "elem": ["192.0.2.1", {"concat": [5]}]}}, {"rule": {}}]}'
    at = min(at, len(whole) - 1)
    for text in (noise, whole[:at], whole[:at] + bytes([flip]) + whole[at + 1 :]):
        try:
            parse_listing(text)
        except BadListing:
            continue


def test_scripts_delete_before_they_add() -> None:
    lines = change_elements(
        ChangeSets(add=(("vips", "192.0.2.1"),), remove=(("vips", "192.0.2.2"),))
    ).splitlines()
    assert [line.split()[0] for line in lines] == ["delete", "add"]
    assert all(len(line) < 200 for line in itertools.islice(lines, 2))
