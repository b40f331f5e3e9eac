"""facts, explain and preflight on a node of the running kernel."""

import json
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from strictarp.arp.frames import request
from strictarp.cli.main import main
from strictarp.lab import namespaces
from support.segment import Segment, bind_vip, build, needs_root

pytestmark = [needs_root, pytest.mark.netns]


@pytest.fixture
def segment() -> Iterator[Segment]:
    with build(["node", "client"]) as built:
        space = built.hosts["node"]
        bind_vip(space)
        namespaces.ip(space, "link set vips0 name kube-ipvs0", "addr add 192.0.2.53/32 dev lo")
        yield built


def run(segment: Segment, capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    with namespaces.entered(segment.hosts["node"]):
        code = main(argv)
    return code, capsys.readouterr().out


def test_facts_of_the_node_are_read(segment: Segment, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(segment, capsys, "facts", "--json")
    told = json.loads(out)
    assert code == 0
    assert {device["name"] for device in told["devices"]} == {"lo", "eth0", "kube-ipvs0"}
    assert {"device": "kube-ipvs0", "address": "192.0.2.100/32"} in told["addresses"]
    assert "kube-ipvs0" in run(segment, capsys, "facts")[1]


def test_the_fault_is_explained_on_the_spot(segment: Segment, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(segment, capsys, "explain", "--in", "eth0", "--ip", "192.0.2.100")
    assert (code, "is answered" in out, segment.mac("node") in out) == (0, True, True)


def test_preflight_finds_the_anycast_address(segment: Segment, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(segment, capsys, "preflight", "--json")
    losses = {loss["target"]: loss["evidence"] for loss in json.loads(out)["losses"]}
    assert (code, losses) == (2, {"192.0.2.100": "wanted", "192.0.2.53": "likely"})


def asking(segment: Segment, stop: threading.Event) -> None:
    """The client asks for the anycast address, ten times a second."""
    mac = bytes.fromhex(segment.mac("client").replace(":", ""))
    frame = request(mac, IPv4Address("192.0.2.12").packed, IPv4Address("192.0.2.53").packed)
    with namespaces.entered(segment.hosts["client"]):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with sock:
        sock.bind(("eth0", 0x0806))
        while not stop.wait(0.1):
            sock.send(frame)


def test_preflight_listens_to_what_is_really_asked_for(
    segment: Segment, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = threading.Event()
    asker = threading.Thread(target=asking, args=(segment, stop))
    asker.start()
    code, out = run(segment, capsys, "preflight", "--watch", "1.5", "--json")
    stop.set()
    asker.join()
    losses = {loss["target"]: (loss["evidence"], loss["because"]) for loss in json.loads(out)["losses"]}
    assert code == 2
    assert losses["192.0.2.53"] == ("seen", "192.0.2.12 asked for it")
