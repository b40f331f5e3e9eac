"""`strictarp watch` and asking for many, against kernels in namespaces."""

from __future__ import annotations

import asyncio
import itertools
import json
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from strictarp.arp import bpf, frames
from strictarp.arp.probing import Findings, Verdict
from strictarp.arp.rawsocket import RawSocket
from strictarp.cli.main import main
from strictarp.lab import namespaces
from strictarp.wire import watching
from strictarp.wire.asking import probe_many
from support.segment import VIP, Segment, bind_vip, build, write_sysctls

pytestmark = pytest.mark.netns
OTHER = "192.0.2.101"
STRICT = "net/ipv4/conf/all/arp_ignore"


@pytest.fixture
def segment() -> Iterator[Segment]:
    """Hosts a and b both hold two VIPs; only a answers for them."""
    with build(["client", "a", "b"]) as made:
        for name in ("a", "b"):
            bind_vip(made.hosts[name])
            namespaces.ip(made.hosts[name], f"addr add {OTHER}/32 dev vips0")
        strict(made, "b", on=True)
        yield made


def strict(segment: Segment, name: str, *, on: bool) -> None:
    write_sysctls(segment.hosts[name], {STRICT: int(on)})


def announce(segment: Segment, name: str, ip: str = VIP) -> None:
    with namespaces.entered(segment.hosts[name]):
        sock = RawSocket(index_of("eth0"), frames.ETHERTYPE_ARP, bpf.nothing())
    sock.send(frames.gratuitous_reply(frames.parse_mac(segment.mac(name)), IPv4Address(ip).packed))
    sock.close()


def index_of(name: str) -> int:
    import socket

    return socket.if_nametoindex(name)


@contextmanager
def during(steps: Callable[[], None]) -> Iterator[None]:
    """The steps happen in a thread of their own meanwhile; their failure is the test's."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            steps()
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]


class Sniffer:
    """The broadcasts for each address that arrive at host b, with their times."""

    def __init__(self, segment: Segment) -> None:
        with namespaces.entered(segment.hosts["b"]):
            self._socket = RawSocket(index_of("eth0"), frames.ETHERTYPE_ARP, bpf.arp())
        self._stop = threading.Event()
        self.heard: list[tuple[float, str]] = []

    def run(self) -> None:
        while not self._stop.is_set():
            select.select([self._socket], [], [], 0.05)
            while (data := self._socket.receive()) is not None:
                frame = frames.decode(data)
                if frame.operation == frames.REQUEST and frame.destination == frames.BROADCAST_MAC:
                    self.heard.append((time.monotonic(), str(IPv4Address(frame.target_ip))))

    def wait_for(self, count: int, ip: str = VIP) -> None:
        """Until so many questions for an address were heard."""
        end = time.monotonic() + 20
        while sum(each == ip for _, each in self.heard) < count:
            assert time.monotonic() < end
            time.sleep(0.02)

    def __enter__(self) -> Sniffer:
        self._thread = threading.Thread(target=self.run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.2)
        self._stop.set()
        self._thread.join()
        self._socket.close()


class Watched:
    """What a run of the command told: its exit code, and events with times as numbers."""

    def __init__(self, code: int, out: str) -> None:
        self.code = code
        self.events = [json.loads(line) for line in out.splitlines()]
        for each in self.events:
            each["at"] = datetime.fromisoformat(each["at"]).timestamp()

    def kinds(self, ip: str = VIP) -> list[str]:
        return [each["event"] for each in self.events if each["ip"] == ip]


def watch(
    segment: Segment, capfd: pytest.CaptureFixture[str], *argv: str, seconds: float, interval: float = 0.5
) -> Watched:
    capfd.readouterr()
    options = ("--json", "--for", str(seconds), "--interval", str(interval))
    with namespaces.entered(segment.hosts["client"]):
        code = main(["watch", *argv, *options])
    return Watched(code, capfd.readouterr().out)


def test_an_owner_that_moves_with_an_announcement_is_one_flap_at_its_time(
    segment: Segment, capfd: pytest.CaptureFixture[str]
) -> None:
    moved: list[float] = []

    def move() -> None:
        sniffer.wait_for(2)
        time.sleep(0.5)
        strict(segment, "a", on=True)
        strict(segment, "b", on=False)
        moved.append(time.time())
        announce(segment, "b")

    # Asked every two seconds: the announcement is heard long before the next question.
    with Sniffer(segment) as sniffer, during(move):
        told = watch(segment, capfd, VIP, seconds=5.5, interval=2)
    assert (told.kinds(), told.code) == (["one", "change"], 0)
    change = told.events[1]
    assert (change["before"], change["macs"]) == (segment.mac("a"), [segment.mac("b")])
    assert change["how"] == "announcement"
    assert abs(change["at"] - moved[0]) < 0.3


def test_several_and_nobody_are_told_and_the_page_draws_them(
    segment: Segment, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"

    def change() -> None:
        sniffer.wait_for(2, OTHER)
        time.sleep(0.2)
        strict(segment, "b", on=False)
        sniffer.wait_for(5, OTHER)
        time.sleep(0.2)
        strict(segment, "a", on=True)
        strict(segment, "b", on=True)

    with Sniffer(segment) as sniffer, during(change):
        told = watch(segment, capfd, VIP, OTHER, "--html", str(page), seconds=4.5)
    assert told.kinds() == told.kinds(OTHER) == ["one", "several", "silent"]
    assert told.code == 2
    several = next(each for each in told.events if each["event"] == "several")
    assert set(several["macs"]) == {segment.mac("a"), segment.mac("b")}
    svgs = list(ET.fromstring(page.read_text()).iter("svg"))  # noqa: S314 - our own file
    assert sum(each.get("role") == "img" for each in svgs) == 2
    assert segment.mac("b") in page.read_text()


def test_a_link_that_goes_down_is_no_silence(
    segment: Segment, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut() -> None:
        sniffer.wait_for(2)
        time.sleep(0.5)
        namespaces.set_links(segment.switch, "p-client", up=False)
        time.sleep(1)
        namespaces.set_links(segment.switch, "p-client", up=True)

    monkeypatch.setattr(watching, "LOOK_AGAIN", 0.1)
    with Sniffer(segment) as sniffer, during(cut):
        told = watch(segment, capfd, VIP, seconds=4.5, interval=1)
    assert (told.kinds(), told.code) == (["one", "blind", "one"], 3)
    assert "no carrier" in told.events[1]["reason"]


def test_a_watch_cannot_begin_on_an_interface_that_is_missing(
    segment: Segment, capfd: pytest.CaptureFixture[str]
) -> None:
    with namespaces.entered(segment.hosts["client"]):
        assert main(["watch", VIP, "-i", "nope", "--for", "2"]) == 3
    assert "no interface nope" in capfd.readouterr().err


def test_metrics_are_served_and_the_summary_is_printed(
    segment: Segment, capfd: pytest.CaptureFixture[str]
) -> None:
    bodies: list[str] = []

    def scrape() -> None:
        sniffer.wait_for(3)
        with (
            namespaces.entered(segment.hosts["client"]),
            urllib.request.urlopen("http://127.0.0.1:9377/metrics", timeout=5) as answer,
        ):
            bodies.append(answer.read().decode())

    strict(segment, "b", on=False)
    with Sniffer(segment) as sniffer, during(scrape), namespaces.entered(segment.hosts["client"]):
        code = main(["watch", VIP, "--interval", "0.5", "--for", "2.5", "--prometheus", "127.0.0.1:9377"])
    assert code == 2
    assert f'strictarp_watch_answerers{{ip="{VIP}",services=""}} 2.0' in bodies[0]
    assert f'strictarp_watch_asked_total{{ip="{VIP}"}}' in bodies[0]
    printed = capfd.readouterr().out
    assert "SEVERAL ANSWER" in printed
    assert f"{VIP}: asked" in printed


def test_a_taken_port_ends_the_watch_with_a_message(
    segment: Segment, capfd: pytest.CaptureFixture[str]
) -> None:
    import socket

    with namespaces.entered(segment.hosts["client"]), socket.create_server(("127.0.0.1", 9378)):
        began = time.monotonic()
        assert main(["watch", VIP, "--for", "20", "--prometheus", "127.0.0.1:9378"]) == 3
    assert time.monotonic() - began < 10
    assert "choose another port" in capfd.readouterr().err


def test_ctrl_c_ends_the_watch_and_writes_the_page(segment: Segment, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    with namespaces.entered(segment.hosts["client"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "strictarp", "watch", VIP, "--interval", "0.5", "--html", str(page)],
            stdout=subprocess.PIPE,
            text=True,
        )
    assert process.stdout is not None
    assert "one answers" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert "asked" in process.stdout.read()
    assert "Who answered when" in page.read_text()


def ask_many(segment: Segment, ips: list[IPv4Address]) -> tuple[Findings, ...]:
    with namespaces.entered(segment.hosts["client"]):
        return asyncio.run(probe_many(ips, wait=0.3, forms=("probe", "request")))


def test_many_questions_go_out_one_by_one_and_none_is_lost(segment: Segment) -> None:
    ips = [IPv4Address("192.0.2.20") + number for number in range(100)]
    with Sniffer(segment) as sniffer:
        found = ask_many(segment, ips)
    assert [each.ip for each in found] == [str(ip) for ip in ips]
    assert len(sniffer.heard) == 200
    times = [at for at, _ in sniffer.heard]
    assert times[-1] - times[0] > 0.95  # at most 200 a second
    assert [each.ip for each in found if each.verdict is Verdict.ONE] == [VIP, OTHER]


def test_a_watch_never_asks_more_often_than_told(segment: Segment, capfd: pytest.CaptureFixture[str]) -> None:
    with Sniffer(segment) as sniffer:
        watch(segment, capfd, VIP, OTHER, "192.0.2.77", seconds=4.5, interval=1)
    for ip in (VIP, OTHER, "192.0.2.77"):
        times = [at for at, each in sniffer.heard if each == ip]
        assert len(times) == 5
        assert min(after - before for before, after in itertools.pairwise(times)) > 0.95


def test_one_address_that_cannot_be_asked_for_does_not_end_the_others(segment: Segment) -> None:
    found = ask_many(segment, [IPv4Address("203.0.113.1"), IPv4Address(VIP)])
    assert [each.verdict for each in found] == [Verdict.UNKNOWN, Verdict.ONE]
    assert "no route" in found[0].reason
    assert found[1].form == "both"
    assert found[1].answerers[0].forms == ("probe", "request")
    assert not found[1].answerers[0].repeats
