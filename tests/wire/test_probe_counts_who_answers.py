"""`strictarp probe` against real kernels in namespaces."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address

import msgspec
import pytest
from click.testing import CliRunner

from strictarp.arp import bpf, frames
from strictarp.arp.probing import Findings, Verdict, sentence
from strictarp.arp.rawsocket import RawSocket
from strictarp.cli.main import main
from strictarp.lab import namespaces
from strictarp.wire.asking import probe_blocking
from strictarp.wire.vantage import CannotLook
from support.segment import VIP, Segment, bind_vip, build, write_sysctls

pytestmark = pytest.mark.netns
WAIT = 0.2
STRICT = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}


@pytest.fixture(scope="module")
def segment() -> Iterator[Segment]:
    with build(["client", "a", "b"]) as made:
        bind_vip(made.hosts["a"])
        bind_vip(made.hosts["b"])
        yield made


@pytest.fixture(autouse=True)
def lax(segment: Segment) -> None:
    for name in ("a", "b"):
        set_strict(segment, name, on=False)


def set_strict(segment: Segment, name: str, *, on: bool) -> None:
    write_sysctls(segment.hosts[name], {key: value if on else 0 for key, value in STRICT.items()})


def ask(
    segment: Segment, ip: str = VIP, interface: str | None = "eth0", sender: str | None = None
) -> Findings:
    with namespaces.entered(segment.hosts["client"]):
        return probe_blocking(
            IPv4Address(ip), interface, wait=WAIT, sender=IPv4Address(sender) if sender else None
        )


def test_every_kernel_with_the_address_answers_without_strictarp(segment: Segment) -> None:
    found = ask(segment)
    assert found.verdict is Verdict.SEVERAL
    assert found.exit_code == 2
    assert {each.mac for each in found.answerers} == {segment.mac("a"), segment.mac("b")}
    assert all(each.answers == 1 and 0 < each.first_ms < WAIT * 1000 for each in found.answerers)


def test_nobody_answers_when_all_have_strictarp(segment: Segment) -> None:
    set_strict(segment, "a", on=True)
    set_strict(segment, "b", on=True)
    found = ask(segment)
    assert (found.verdict, found.exit_code, found.answerers) == (Verdict.NOBODY, 1, ())


def test_one_answers_when_only_the_other_has_strictarp(segment: Segment) -> None:
    set_strict(segment, "b", on=True)
    found = ask(segment)
    assert (found.verdict, found.exit_code) == (Verdict.ONE, 0)
    assert [each.mac for each in found.answerers] == [segment.mac("a")]


def test_without_an_interface_that_of_the_route_is_asked(segment: Segment) -> None:
    found = ask(segment, interface=None)
    assert found.interface == "eth0"
    assert found.verdict is Verdict.SEVERAL


def test_a_probe_touches_no_neighbour_cache_and_a_request_does(segment: Segment) -> None:
    a = segment.hosts["a"]
    namespaces.run(a, ["ip", "neigh", "flush", "dev", "eth0"])
    ask(segment)
    assert namespaces.run(a, ["ip", "neigh", "show", segment.address("client")]).stdout == ""
    found = ask(segment, sender=segment.address("client"))
    assert found.form == "request"
    assert found.verdict is Verdict.SEVERAL
    assert segment.mac("client") in namespaces.run(a, ["ip", "neigh", "show"]).stdout


def test_proxy_arp_answers_only_the_ordinary_form(segment: Segment) -> None:
    a = segment.hosts["a"]
    namespaces.ip(a, "link add far0 type bridge", "link set far0 up", "addr add 198.51.100.1/24 dev far0")
    write_sysctls(
        a,
        {
            "net/ipv4/conf/eth0/forwarding": 1,
            "net/ipv4/conf/eth0/proxy_arp": 1,
            "net/ipv4/neigh/eth0/proxy_delay": 0,
        },
    )
    namespaces.ip(a, "neigh add proxy 198.51.100.9 dev eth0")
    try:
        assert ask(segment, "198.51.100.9").verdict is Verdict.NOBODY
        found = ask(segment, "198.51.100.9", sender=segment.address("client"))
        assert [each.mac for each in found.answerers] == [segment.mac("a")]
    finally:
        namespaces.ip(a, "link del far0")


def test_two_answers_of_one_host_are_one_answerer(segment: Segment) -> None:
    set_strict(segment, "b", on=True)
    with namespaces.entered(segment.hosts["a"]):
        index = socket.if_nametoindex("eth0")
        second_voice = RawSocket(index, frames.ETHERTYPE_ARP, bpf.arp())

    def answer_too() -> None:
        select.select([second_voice], [], [], 5)
        asked = frames.decode(second_voice.receive() or b"")
        second_voice.send(frames.reply(frames.parse_mac(segment.mac("a")), asked))

    thread = threading.Thread(target=answer_too)
    thread.start()
    found = ask(segment)
    thread.join()
    second_voice.close()
    assert (found.verdict, found.exit_code) == (Verdict.ONE, 0)
    assert [(each.mac, each.answers) for each in found.answerers] == [(segment.mac("a"), 2)]
    assert "one host, 2 answers" in sentence(found)


def test_arp_ignore_of_the_receiving_device_counts_and_that_of_the_address_does_not(segment: Segment) -> None:
    set_strict(segment, "b", on=True)
    a = segment.hosts["a"]
    write_sysctls(a, {"net/ipv4/conf/vips0/arp_ignore": 1})
    assert ask(segment).verdict is Verdict.ONE
    write_sysctls(a, {"net/ipv4/conf/eth0/arp_ignore": 1})
    assert ask(segment).verdict is Verdict.NOBODY
    write_sysctls(a, {"net/ipv4/conf/eth0/arp_ignore": 0, "net/ipv4/conf/vips0/arp_ignore": 0})


def test_a_host_does_not_hear_itself_and_says_so(segment: Segment) -> None:
    set_strict(segment, "b", on=True)
    with namespaces.entered(segment.hosts["a"]):
        found = probe_blocking(IPv4Address(VIP), wait=WAIT)
    assert found.verdict is Verdict.NOBODY
    assert found.own_address
    assert found.interface == "eth0"


@pytest.mark.parametrize(
    ("interface", "ip", "why"),
    [
        ("nope", VIP, "no interface nope"),
        ("lo", VIP, "does not speak ARP"),
        ("down0", VIP, "is down"),
        (None, "203.0.113.200", "no route to"),
    ],
)
def test_it_says_why_it_cannot_look(segment: Segment, interface: str | None, ip: str, why: str) -> None:
    client = segment.hosts["client"]
    namespaces.ip(client, "link add down0 type bridge")
    try:
        with pytest.raises(CannotLook, match=why):
            ask(segment, ip, interface)
    finally:
        namespaces.ip(client, "link del down0")


def test_an_address_behind_a_gateway_cannot_be_asked_for(segment: Segment) -> None:
    client = segment.hosts["client"]
    namespaces.ip(client, "route add default via 192.0.2.250")
    try:
        with pytest.raises(CannotLook, match="gateway"):
            ask(segment, "203.0.113.200", None)
    finally:
        namespaces.ip(client, "route del default")


def test_the_command_prints_json_for_programs(segment: Segment, capsys: pytest.CaptureFixture[str]) -> None:
    with namespaces.entered(segment.hosts["client"]):
        code = main(["probe", VIP, "-i", "eth0", "--wait", "0.2", "--json"])
    found = msgspec.json.decode(capsys.readouterr().out)
    assert code == 2
    assert found["verdict"] == "several"
    assert {each["mac"] for each in found["answerers"]} == {segment.mac("a"), segment.mac("b")}


def test_the_command_prints_a_table_for_people(segment: Segment, capsys: pytest.CaptureFixture[str]) -> None:
    with namespaces.entered(segment.hosts["client"]):
        code = main(["probe", VIP, "--wait", "0.2"])
    printed = capsys.readouterr().out
    assert code == 2
    assert "2 hosts answer" in printed
    assert segment.mac("a") in printed


def test_the_command_ends_with_3_when_it_cannot_look(
    segment: Segment, capsys: pytest.CaptureFixture[str]
) -> None:
    with namespaces.entered(segment.hosts["client"]):
        code = main(["probe", VIP, "-i", "nope"])
    assert code == 3
    assert "no interface nope" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [["probe"], ["probe", "not-an-ip"], ["probe", "224.0.0.1"], ["probe", VIP, "-x"]]
)
def test_usage_errors_end_with_64(argv: list[str]) -> None:
    assert main(argv) == 64


def test_help_shows_an_example() -> None:
    from strictarp.cli.probe import command

    assert "Examples" in CliRunner().invoke(command, ["--help"]).output
