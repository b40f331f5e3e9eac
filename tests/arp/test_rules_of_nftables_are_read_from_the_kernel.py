"""nftables by netlink: read whole, written as text that nft takes, and named where something is not known."""

import asyncio
import contextlib
import json
import random
import shlex
import subprocess
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.arp import collecting
from strictarp.arp.nft import (
    DROP,
    Always,
    Chain,
    Concat,
    Lookup,
    Mangle,
    Match,
    Ruleset,
    Seen,
    Table,
    Verdict,
    run,
)
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.nft_reading import TableTold, read_table
from strictarp.arp.nft_text import text_of
from strictarp.arp.packets import Packet
from strictarp.arp.unsupported import Unsupported
from strictarp.cli.facts import read_node
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from strictarp.netlink import nft_dump
from strictarp.netlink.messages import MalformedMessage, Message, attribute, nested
from support.random_cases import Maker
from support.segment import needs_root

SCRIPTS = 25
DEVICES = ("e0", "e1", "e2", "cali0", "cali1", "cali2")


@pytest.fixture
def space() -> Iterator[Namespace]:
    made = namespaces.create("rules")
    namespaces.ip(made, *(f"link add {name} type veth" for name in DEVICES))
    yield made
    made.close()


def nft(space: Namespace, script: str, *argv: str) -> str:
    with namespaces.entered(space):
        done = subprocess.run(
            ["nft", *argv, "-f", "-"], input=script, text=True, capture_output=True, check=False
        )
    assert done.returncode == 0, f"{done.stderr}\n{script}"
    return done.stdout


def read(space: Namespace) -> tuple[Ruleset, tuple[str, ...]]:
    with namespaces.entered(space):
        return asyncio.run(collecting.nft_rules())


def verdicts(rules: Ruleset) -> list[Packet | None]:
    """What becomes of some packets at each hook. nft adds matches of its own to a rule that it writes."""
    packets = [
        Packet(sender, target, b"\2\0\0\0\0\1", operation=operation)
        for sender, target, operation in product(
            (0x0A000003, 0xC0000209), (0x0A000001, 0x0A0000C8, 0xC0000232), (1, 2)
        )
    ]
    hooks = (("arp", "input"), ("arp", "output"), ("netdev", "ingress"), ("bridge", "input"))
    return [
        run(rules, family, hook, packet, Seen(**{"oif" if hook == "output" else "iif": name}))
        for (family, hook), packet, name in product(hooks, packets, ("e0", "cali1"))
    ]


@needs_root
@pytest.mark.netns
def test_what_is_read_is_text_that_nft_takes_and_means_the_same(space: Namespace) -> None:
    seed = random.SystemRandom().randrange(1 << 40)
    print(f"seed {seed}")
    for number in range(seed, seed + SCRIPTS):
        maker = Maker(random.Random(number), frozenset({"bridge", "macvlan"}))
        maker.held = ["10.0.0.1", "10.0.0.200"]
        nft(space, "flush ruleset\n" + maker.nft_script())
        rules, unread = read(space)
        assert unread == ()
        written = text_of(rules)
        assert parse_nft(written) == rules, f"seed {number}"
        nft(space, written, "-c")
        nft(space, "flush ruleset\n" + written)
        again, unread = read(space)
        assert (verdicts(again), unread) == (verdicts(rules), ()), f"seed {number}"


@needs_root
@pytest.mark.netns
def test_chains_are_those_that_nft_lists(space: Namespace) -> None:
    nft(
        space,
        """table arp a { chain i { type filter hook input priority -5; policy drop; arp operation 1 accept; }
                         chain more { counter drop; counter; }
                       }
           table netdev n { chain g { type filter hook ingress device e0 priority 7; }
                       }
           table bridge b { chain p { type filter hook prerouting priority 3; }
                       }
           table inet elsewhere { chain x { type filter hook input priority 0; policy drop; }
                       }
        """,
    )
    with namespaces.entered(space):
        listed = subprocess.run(["nft", "-j", "list", "ruleset"], text=True, capture_output=True, check=True)
    objects = json.loads(listed.stdout)["nftables"]
    families = ("arp", "netdev", "bridge")
    chains = [each["chain"] for each in objects if "chain" in each and each["chain"]["family"] in families]
    rules, unread = read(space)
    told = {
        (table.family, table.name, chain.name, chain.hook, chain.priority, chain.policy, len(chain.rules))
        for table in rules.tables
        for chain in table.chains
    }
    counts = {
        (chain["table"], chain["name"]): sum(
            1
            for each in objects
            if "rule" in each
            and (each["rule"]["table"], each["rule"]["chain"]) == (chain["table"], chain["name"])
        )
        for chain in chains
    }
    assert unread == ()
    assert told == {
        (
            chain["family"],
            chain["table"],
            chain["name"],
            chain.get("hook", ""),
            chain.get("prio", 0),
            chain.get("policy", "accept"),
            counts[chain["table"], chain["name"]],
        )
        for chain in chains
    }
    (ingress,) = (table for table in rules.tables if table.family == "netdev")
    assert ingress.chains[0].devices == ("e0",)


@needs_root
@pytest.mark.netns
def test_a_table_with_something_unknown_is_named_and_hides_no_other(space: Namespace) -> None:
    nft(
        space,
        """table arp odd { chain i { type filter hook input priority 0; numgen random mod 2 0 drop; }
                       }
           table arp fine { chain i { type filter hook input priority 0; arp daddr ip 192.0.2.1 drop; }
                       }
           table arp asleep { flags dormant; chain i { type filter hook input priority 0; drop; }
                       }
        """,
    )
    rules, unread = read(space)
    assert unread == ("arp odd: expression 'numgen'",)
    assert [table.name for table in rules.tables] == ["fine"]
    assert rules.tables[0].chains[0].rules == (
        (Match("arp daddr ip", ((0xC0000201, 0xC0000201),)), Verdict(DROP)),
    )


@needs_root
@pytest.mark.netns
def test_a_filter_of_tc_that_sees_arp_is_named(space: Namespace) -> None:
    for command in (
        "tc qdisc add dev e0 clsact",
        "tc filter add dev e0 ingress protocol arp bpf da bytecode 1,6\\ 0\\ 0\\ 0",
        "tc filter add dev e0 egress protocol ip bpf da bytecode 1,6\\ 0\\ 0\\ 0",
        "tc qdisc add dev e1 ingress",
    ):
        namespaces.run(space, shlex.split(command))
    with namespaces.entered(space):
        assert asyncio.run(collecting.tc_filters()) == ("tc e0 ingress: bpf",)
        assert read_node()[1] == ("tc e0 ingress: bpf",)


def test_text_of_every_kind_of_step_is_read_back() -> None:
    steps = (
        (Match("iifname", words=("e0", "cali*"), negated=True), Verdict(DROP)),
        (Match("arp daddr ip", ((0x0A000000, 0x0A0000FF), (0xC0000201, 0xC0000201))), Verdict("accept")),
        (Match("arp daddr ip", ((0x0A000000, 0x0A000000),), mask=0xFFFFFF00), Verdict("return")),
        (Match("@nh,192,24", ((0x0A0000, 0x0A0000),), negated=True), Verdict("goto", "more")),
        (Match("pkttype", words=("broadcast",)), Match("mark", ((0, 0),)), Verdict("jump", "more")),
        (Concat(("arp daddr ip", "iifname"), (((1, 2), "e0"), ((3, 3), "e1")), negated=True), Verdict(DROP)),
        (Lookup(("arp operation",), ((((1, 1),), Verdict(DROP)),), Verdict("accept")),),
        (Mangle("arp saddr ip", 0x0A000001), Always(met=False), Mangle("arp saddr ether", 0x020000000001)),
        (),
    )
    chains = (Chain("more"), Chain("i", steps, hook="input", priority=-7, policy=DROP))
    rules = Ruleset(
        (Table("arp", "t", chains), Table("netdev", "n", (Chain("g", (), "ingress", devices=("e0",)),)))
    )
    assert parse_nft(text_of(rules)) == rules


def expression(name: bytes, *found: bytes) -> bytes:
    return nested(1, attribute(1, name + b"\0"), nested(2, *found))


def number(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4, "big"))


RULE = b"\3\0\0\0" + b"".join(
    (
        attribute(1, b"t\0"),
        attribute(2, b"i\0"),
        nested(
            4,
            expression(b"meta", number(1, 1), number(2, 6)),
            expression(b"cmp", number(1, 1), number(2, 0), nested(3, attribute(1, b"e0".ljust(16, b"\0")))),
            expression(b"payload", number(1, 1), number(2, 1), number(3, 24), number(4, 4)),
            expression(b"bitwise", number(1, 1), number(2, 1), nested(4, attribute(1, b"\xff\xff\xff\0"))),
            expression(b"lookup", attribute(1, b"s\0"), number(2, 1), number(5, 1)),
            expression(b"immediate", number(1, 0), nested(2, nested(2, number(1, 0)))),
        ),
    )
)
ELEMENTS = b"\3\0\0\0" + nested(
    3,
    nested(1, nested(1, attribute(1, b"\x0a\0\0\1"))),
    nested(1, nested(1, attribute(1, b"\x0a\0\0\2")), number(3, 1)),
)
CHAIN = b"\3\0\0\0" + attribute(1, b"t\0") + attribute(3, b"i\0") + nested(4, number(1, 0), number(2, 5))
SET = b"\3\0\0\0" + attribute(1, b"t\0") + attribute(2, b"s\0") + number(3, 4) + number(5, 4)


def mutated(data: st.DataObject, raw: bytes) -> Message:
    changed = bytearray(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    for _ in range(data.draw(st.integers(0, 3))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    return Message(0xA06, 0, 0, 0, memoryview(bytes(changed)))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_bytes_come_only_our_own_errors_escape(data: st.DataObject) -> None:
    with contextlib.suppress(MalformedMessage, Unsupported):
        chain = nft_dump.parse_chain(mutated(data, CHAIN))
        rule = nft_dump.parse_rule(mutated(data, RULE))
        held = nft_dump.parse_set(mutated(data, SET))
        elements = nft_dump.parse_elements([mutated(data, ELEMENTS)])
        told = TableTold("arp", "t", [chain], [rule], {held.name: held}, {held.name: elements})
        read_table(told, {1: "lo"})
