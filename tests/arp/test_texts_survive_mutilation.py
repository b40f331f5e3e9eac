"""Whatever is cut or changed in commands, rules and cases: a value, or the model's own error."""

import contextlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.arp import cases, commands
from strictarp.arp.building import Builder
from strictarp.arp.facts import Device
from strictarp.arp.facts_text import host_of, parse_facts
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.unsupported import Refused, Unsupported
from strictarp.errors import UserError

LINES = (Path(__file__).parent.parent / "data" / "arp_cases.jsonl").read_text(encoding="utf-8").splitlines()
NFT = """table arp t {
 set vips { type ipv4_addr; flags interval; elements = { 10.0.0.200, 192.0.2.0/24 } }
 chain i { type filter hook input priority filter - 1; policy drop;
  iifname "e0" arp operation { request, reply } arp daddr ip @vips counter packets 1 bytes 2 log drop
  arp saddr ether 02:00:00:00:00:01 limit rate over 1/hour burst 5 packets jump more
  arp daddr ip vmap { 10.0.0.1 : drop, 10.0.0.2-10.0.0.9 : goto more }
 }
 chain more { meta pkttype != broadcast arp saddr ip set 10.0.0.1 return; }
}
"""
COMMANDS = (
    "ip link set e0 down",
    "ip link set e0 mtu 60 address 02:00:00:00:00:11",
    "ip addr add 10.0.0.1 peer 10.0.0.2/24 dev e0 scope link",
    "ip addr del 10.0.0.1/24 dev e0",
    "ip route add local 10.5.0.0/24 dev lo table 100 metric 7",
    "ip route replace default via 10.0.0.2 dev e0 onlink",
    "ip rule add not from 10.0.0.0/8 iif e0 pref 50 fwmark 7/0xff table 100 suppress_prefixlength 0",
    "ip rule del pref 0",
    "ip neigh add proxy 10.0.0.9 dev e0",
    "sysctl -qw net.ipv4.conf.e0.arp_ignore=1",
    "arptables -A INPUT --opcode 1 ! -d 10.0.0.200 -i e+ -j DROP",
    "arptables -A OUTPUT -s 10.0.0.1 -j mangle --mangle-ip-s 10.0.0.9",
    "tc filter add dev e0 ingress protocol arp prio 1 flower arp_tip 10.0.0.0/24 arp_op 1 action drop",
    "tc filter add dev e0 ingress bpf da bytecode '2,40 0 0 12,6 0 0 2'",
    "nft add rule arp t i arp operation request drop",
)


def mutilated(data: st.DataObject, text: str) -> str:
    """Characters are cut away, changed, doubled; words are left out."""
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, max(0, len(text) - 1)))
        text = data.draw(
            st.sampled_from(
                [
                    text[:at],
                    text[at:],
                    text[:at] + text[at + 3 :],
                    text[:at] + "{" + text[at:],
                    text[:at] + text,
                ]
            )
        )
        words = text.split(" ")
        del words[data.draw(st.integers(0, len(words) - 1))]
        text = " ".join(words)
    return text


@settings(deadline=None)
@given(st.data())
def test_rules_of_nftables(data: st.DataObject) -> None:
    with contextlib.suppress(Unsupported):
        parse_nft(mutilated(data, NFT))


@settings(deadline=None)
@given(st.text(alphabet='tablechin arp{};,"=!-/@.:01#\n', max_size=80))
def test_any_text_as_rules(text: str) -> None:
    with contextlib.suppress(Unsupported):
        parse_nft("table arp t { chain i { " + text + " } }")


@settings(deadline=None)
@given(st.data())
def test_commands(data: st.DataObject) -> None:
    builder = Builder()
    builder.add_device(Device("e0", b"\2\0\0\0\0\1"))
    for line in data.draw(st.lists(st.sampled_from(COMMANDS), max_size=5)):
        with contextlib.suppress(Unsupported, Refused):
            commands.run(builder, mutilated(data, line))
    assert builder.build().by_name["lo"].up in (True, False)


def test_the_commands_to_be_mutilated_are_whole() -> None:
    builder = Builder()
    builder.add_device(Device("e0", b"\2\0\0\0\0\1"))
    for line in COMMANDS:
        if " addr del " not in line:
            commands.run(builder, line.replace("mtu 60 ", "").replace("set e0 down", "set e0 up"))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_cases(data: st.DataObject) -> None:
    line = json.loads(data.draw(st.sampled_from(LINES)))
    case = line["case"]
    key = data.draw(st.sampled_from(sorted(case)))
    case[key] = data.draw(
        st.sampled_from([None, 7, "x", [], {}, [[]], [["e0"]], ["ip"], [{}], {"in": "e0"}, {"conf.e0": "1"}])
    )
    with contextlib.suppress(msgspec.DecodeError):
        result = cases.judge(json.dumps(line))
        assert (result.answered is None) == bool(result.unsupported)


@pytest.mark.parametrize("entry", [[], [""], [None], "", " "])
def test_an_entry_without_a_word_is_named_as_unsupported(entry: object) -> None:
    line = json.loads(next(each for each in LINES if '"pneigh"' in each))
    line["case"]["pneigh"] = [entry]
    with contextlib.suppress(msgspec.DecodeError):
        assert cases.judge(json.dumps(line)).unsupported


@settings(deadline=None)
@given(st.data())
def test_facts(data: st.DataObject) -> None:
    good = {
        "devices": [{"name": "e0", "mac": "02:00:00:00:00:10", "master": ""}],
        "addresses": [{"device": "e0", "address": "10.0.0.1/24", "peer": "", "scope": "link"}],
        "routes": [{"to": "10.0.0.0/24", "table": "main", "hops": [{"device": "e0", "via": "10.0.0.9"}]}],
        "rules": [{"priority": 0, "table": "local", "source": "10.0.0.0/8"}],
        "nft": "table arp t { chain i { arp operation request drop; } }",
    }
    with contextlib.suppress(UserError):
        host_of(parse_facts(mutilated(data, json.dumps(good)), name="x"), name="x")
