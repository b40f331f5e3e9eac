"""Explanations: every rule has its words, and every change that is offered really turns the outcome round."""

import json
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from string import Formatter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.arp import wording
from strictarp.arp.decision import Rule
from strictarp.arp.explaining import assumed_asker, explain, text
from strictarp.arp.facts import Host
from strictarp.arp.facts_text import FactsText, host_of, parse_facts, text_of
from strictarp.arp.packets import Packet
from strictarp.arp.receiving import receive
from strictarp.arp.remedies import turning
from strictarp.arp.routing import Obstacle
from strictarp.cli.main import main
from strictarp.errors import UserError
from support.arp_kernel import model_of
from support.command_hosts import IPVS, VIP, host, nic
from support.random_hosts import RandomHost, make

NODE = "addr add 192.0.2.11/24 dev eth0"
ASKER = int(IPv4Address("192.0.2.1"))
VIP_NUMBER = int(IPv4Address("192.0.2.100"))
KINDS = frozenset({"bridge", "macvlan", "vlan", "bond", "vrf", "ipvlan"})
hosts = st.integers(0, 1 << 32).map(lambda seed: make(Random(seed), KINDS, frames=3))


_NESTED_COMMAND = "ip netns exec x " * 2000 + "true"
NESTED = json.dumps(
    {"id": "nested", "case": {"devs": [], "cmds": [_NESTED_COMMAND], "pkt": {"in": "lo", "tip": "192.0.2.1"}}}
)


def node(*lines: str) -> Host:
    return host(NODE, VIP, *lines, devices=[nic(), IPVS])


def test_the_fault_is_explained_with_its_cure() -> None:
    told = explain(node(), "eth0", VIP_NUMBER, asker=ASKER)
    assert told.answered
    assert told.steps[0].rule == "local"
    assert "kube-ipvs0, which is down" in told.steps[0].why
    assert "sysctl -w net.ipv4.conf.eth0.arp_ignore=1" in told.changes
    assert "ip addr del 192.0.2.100/32 dev kube-ipvs0" in told.changes


def test_the_cure_is_explained_with_what_would_undo_it() -> None:
    told = explain(node("all.arp_ignore=1"), "eth0", VIP_NUMBER, asker=ASKER)
    assert not told.answered
    assert told.steps[0].rule == "arp-ignore-1"
    assert "sysctl -w net.ipv4.conf.eth0.arp_ignore=3" in told.changes


def test_a_host_that_asks_with_our_address_is_not_believed() -> None:
    told = explain(node(), "eth0", int(IPv4Address("192.0.2.11")), asker=VIP_NUMBER)
    assert told.steps[0].rule == "sender-is-ours"
    assert told.changes == ("sysctl -w net.ipv4.conf.eth0.accept_local=1",)


def test_two_answers_are_told_as_flux() -> None:
    made = host(NODE, devices=[nic(), nic("vrrp51", 17, kind="macvlan", lower="eth0", mode="bridge")])
    told = explain(made, "eth0", int(IPv4Address("192.0.2.11")), asker=ASKER)
    assert [step.answered for step in told.steps] == [True, True]
    assert any("flux" in note for note in told.notes)


def test_tables_that_were_not_read_are_told() -> None:
    told = explain(node(), "eth0", VIP_NUMBER, unread=("arp guard",))
    assert "arp guard" in told.notes[0]


DROP = """table arp fine { chain i { type filter hook input priority 0; } }
table arp guard { chain i { type filter hook input priority 0; arp daddr ip 192.0.2.100 drop; } }
"""


def test_the_table_that_drops_is_told_from_the_others() -> None:
    told = explain(host(NODE, VIP, devices=[nic(), IPVS], nft=DROP), "eth0", VIP_NUMBER, asker=ASKER)
    assert (told.steps[0].rule, told.changes) == ("filtered-input", ("nft delete table arp guard",))


def test_a_proxy_entry_is_told_as_what_answers() -> None:
    lines = ("addr add 10.1.0.1/24 dev eth1", "neigh add proxy 10.1.0.9 dev eth0", "all.forwarding=1")
    made = host(NODE, *lines, devices=[nic(), nic("eth1", 17)])
    told = explain(made, "eth0", int(IPv4Address("10.1.0.9")), asker=ASKER)
    assert told.steps[0].rule == "proxy-neighbour"
    assert "ip neigh del proxy 10.1.0.9 dev eth0" in told.changes
    assert any("proxy_delay" in note for note in told.notes)


def test_a_route_with_several_hops_is_told_as_chance() -> None:
    lines = ("all.forwarding=1", "eth0.proxy_arp=1", "route add default nexthop dev eth0 nexthop dev eth1")
    made = host(NODE, *lines, devices=[nic(), nic("eth1", 17)])
    told = explain(made, "eth0", int(IPv4Address("203.0.113.9")), asker=ASKER)
    assert any("several next hops" in note for note in told.notes)


def test_without_an_asker_a_neighbour_is_assumed() -> None:
    assert assumed_asker(node(), "eth0", VIP_NUMBER) == ASKER
    pod = host("route add 10.244.0.5/32 dev cali1", devices=[nic("cali1")])
    assert assumed_asker(pod, "cali1", VIP_NUMBER) == int(IPv4Address("10.244.0.5"))
    assert assumed_asker(host(devices=[nic()]), "eth0", VIP_NUMBER) == 0


def test_an_unknown_interface_is_named_with_those_that_exist() -> None:
    with pytest.raises(UserError, match=r"eth9.*lo, eth0, kube-ipvs0"):
        explain(node(), "eth9", VIP_NUMBER)


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_its_words(rule: Rule) -> None:
    fields = {name for _, name, _, _ in Formatter().parse(wording.SENTENCES[rule]) if name}
    assert fields <= {"device", "tip", "sip", "vlan", "where", "ignore", "values"}


@pytest.mark.parametrize("obstacle", Obstacle)
def test_every_obstacle_on_the_way_is_a_rule(obstacle: Obstacle) -> None:
    assert Rule(obstacle.value) in Rule


@settings(max_examples=40, deadline=None)
@given(hosts)
def test_every_change_that_is_offered_turns_the_outcome_round(made: RandomHost) -> None:
    facts = model_of(made)
    for frame in made.frames:
        packet = Packet(int(IPv4Address(frame.sip)), int(IPv4Address(frame.tip)), b"\2\0\0\0\0\1")
        answered = any(each.answered for each in receive(facts, frame.device, packet))
        for remedy in turning(facts, frame.device, packet):
            assert answered != any(each.answered for each in receive(remedy.host, frame.device, packet))
        assert text(explain(facts, frame.device, packet.target_ip, asker=packet.sender_ip))


@settings(max_examples=40, deadline=None)
@given(hosts)
def test_facts_survive_being_written_and_read(made: RandomHost) -> None:
    facts = msgspec.structs.replace(model_of(made), nft=host().nft)
    written = msgspec.json.encode(text_of(facts))
    assert host_of(parse_facts(written, name="x"), name="x") == facts


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"devices": [{"name": "eth0", "mac": "02:00"}]}, "mac of eth0"),
        ({"addresses": [{"device": "eth1", "address": "192.0.2.1/24"}]}, "'eth1'"),
        ({"addresses": [{"device": "eth0", "address": "192.0.2.300/24"}]}, "192.0.2.300"),
        (
            {"addresses": [{"device": "eth0", "address": "192.0.2.1/24", "scope": "wide"}]},
            "scope of 192.0.2.1",
        ),
        ({"routes": [{"to": "default", "table": "mine"}]}, "table of default"),
        ({"nft": "table arp t { chain i { fib saddr drop } }"}, "fib"),
        ({"colour": "red"}, "colour"),
        ({"devices": [{"name": "br0", "master": "eth0"}, {"name": "eth0", "lower": "br0"}]}, "itself"),
        ({"devices": []}, "eth0"),
    ],
)
def test_bad_facts_are_refused_with_file_and_field(
    change: dict[str, object], named: str, tmp_path: Path
) -> None:
    good: dict[str, object] = {"devices": [{"name": "eth0", "mac": "02:00:00:00:00:10"}]}
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(good | change), encoding="utf-8")
    with pytest.raises(UserError, match=f"facts.json.*{named}|{named}"):
        explain(host_of(parse_facts(path.read_bytes(), name=str(path)), name=str(path)), "eth0", VIP_NUMBER)


def test_facts_by_hand_need_only_devices() -> None:
    made = host_of(FactsText(devices=()), name="x")
    assert (made.rules, made.unmerged) == (host().rules, False)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_the_command_explains_a_file_of_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(msgspec.json.encode(text_of(node())))
    argv = ("explain", "--host", str(path), "--in", "eth0", "--ip", "192.0.2.100")
    code, out, _ = run(capsys, *argv)
    assert (code, "is answered" in out, "arp_ignore=1" in out) == (0, True, True)
    code, out, _ = run(capsys, *argv, "--from", "192.0.2.9", "--json")
    assert json.loads(out)["asker"] == "192.0.2.9"


def test_the_command_judges_cases_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cases.jsonl"
    case = {
        "id": "A",
        "case": {
            "devs": [{"name": "e0", "mac": "02:00:00:00:00:10"}],
            "addrs": [["e0", "10.0.0.1/24"]],
            "pkt": {"in": "e0", "sip": "10.0.0.100", "tip": "10.0.0.1"},
        },
    }
    odd = {"id": "B", "case": {**case["case"], "cmds": ["ebtables -L"]}}  # type: ignore[dict-item]
    path.write_text(f"{json.dumps(case)}\n\n{json.dumps(odd)}\nno json\n", encoding="utf-8")
    code, out, err = run(capsys, "explain", "--cases", str(path))
    first, second, third = (json.loads(line) for line in out.splitlines())
    assert first == {"id": "A", "answered": [["e0", "10.0.0.1"]]}
    assert (second["id"], "ebtables" in second["unsupported"]) == ("B", True)
    assert (third["id"], "malformed" in third["unsupported"]) == (None, True)
    assert (code, "line 4" in err) == (1, True)


@pytest.mark.parametrize(
    ("line", "ident", "reason"),
    [
        ('{"id": 7, "case": {"devs": []}}', 7, "`pkt` is missing"),
        ('{"id": "deep", "case": ' + "[" * 100_000, None, "`$.case`"),
        (NESTED, "nested", "too deeply"),
        ("[" * 100_000, None, "expected"),
        ("null", None, "Expected"),
    ],
)
def test_every_line_of_cases_gets_a_line(
    line: str, ident: object, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text(line, encoding="utf-8")
    code, out, _ = run(capsys, "explain", "--cases", str(path))
    told = json.loads(out)
    assert (told["id"], reason.lower() in told["unsupported"].lower()) == (ident, True)
    assert code == (0 if ident is not None else 1)


def test_a_line_separator_within_a_string_ends_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "a\u2028b\x85", "case": {"devs": []}}\r\n', encoding="utf-8")
    code, out, _ = run(capsys, "explain", "--cases", str(path))
    assert (code, json.loads(out)["id"]) == (0, "a\u2028b\x85")


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("explain",), 64, "--in IFACE and --ip IP"),
        (("explain", "--in", "eth0", "--ip", "nowhere"), 64, "no IPv4 address"),
        (("explain", "--cases", "x", "--ip", "192.0.2.1"), 64, "stands alone"),
        (("explain", "--host", "/nonexistent", "--in", "eth0", "--ip", "192.0.2.1"), 1, "/nonexistent"),
        (("preflight", "--host", "/nonexistent", "--watch", "3"), 64, "--watch"),
        (("preflight", "--scope", "some"), 64, "--scope"),
    ],
)
def test_bad_use_is_told(
    argv: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done, _, err = run(capsys, *argv)
    assert (done, said in err) == (code, True)


def test_the_preflight_command_reads_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(msgspec.json.encode(text_of(node("addr add 192.0.2.53/32 dev lo"))))
    code, out, _ = run(capsys, "preflight", "--host", str(path))
    assert (code, "192.0.2.53 on eth0" in out) == (2, True)
    code, out, _ = run(
        capsys, "preflight", "--host", str(path), "--scope", "vips", "--uplink", "eth0", "--json"
    )
    assert (code, [loss["target"] for loss in json.loads(out)["losses"]]) == (0, ["192.0.2.100"])
    code, _, err = run(capsys, "preflight", "--host", str(path), "--uplink", "eth7")
    assert (code, "eth7" in err) == (1, True)
