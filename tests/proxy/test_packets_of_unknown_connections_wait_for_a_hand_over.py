"""A moved IP brings packets before the rules that pass them on: the first ones are dropped, not reset."""

import asyncio
import contextlib
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from strictarp.lab import namespaces
from strictarp.lab.namespaces import entered
from strictarp.proxy.config import Config
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.nftables import forget_strays, whole_table
from support import segment

pytestmark = pytest.mark.netns
VIPS = {4: segment.VIP, 16: "2001:db8::100"}
PORT = 34567
FIN, SYN, RST, ACK = 1, 2, 4, 16


@pytest.fixture
def wire() -> Iterator[segment.Segment]:
    with segment.build(["client", "node"], (4, 16)) as made:
        for width, vip in VIPS.items():
            way = made.address("node") if width == 4 else made.address6("node")
            namespaces.ip(made.hosts["node"], f"addr add {vip}/{8 * width} dev lo")
            namespaces.ip(made.hosts["client"], f"route add {vip}/{8 * width} via {way}")
        yield made


def _load(wire: segment.Segment, hold_back: float = 0.4) -> None:
    elements = [("loadBalancer", f"{vip} . tcp . 80") for vip in VIPS.values()]
    elements += [("vips", vip) for vip in VIPS.values()]
    text = whole_table(Config(), (), elements, hold_back=hold_back)
    with entered(wire.hosts["node"]):
        subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)


class Client:
    """Sends single TCP segments to port 80 of a VIP."""

    def __init__(self, wire: segment.Segment, width: int = 4) -> None:
        family, own = (
            (socket.AF_INET, wire.address("client"))
            if width == 4
            else (socket.AF_INET6, wire.address6("client"))
        )
        with entered(wire.hosts["client"]):
            self._raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
        self._vip = VIPS[width]
        self._pseudo = ip_address(own).packed + ip_address(self._vip).packed

    def flags_of_answer(self, flags: int, *, source: int = PORT, port: int = 80) -> int:
        """Of the answer to one segment; 0: none within 150 ms."""
        head = struct.pack("!HHIIBBHHH", source, port, 7, 7, 5 << 4, flags, 1024, 0, 0)
        summed = self._pseudo + struct.pack("!HH", socket.IPPROTO_TCP, len(head)) + head
        total = sum(struct.unpack(f"!{len(summed) // 2}H", summed))
        total = (total & 0xFFFF) + (total >> 16)
        check = ~(total + (total >> 16)) & 0xFFFF
        self._raw.sendto(head[:16] + struct.pack("!H", check) + head[18:], (self._vip, 0))
        end = time.monotonic() + 0.15
        while select.select([self._raw], [], [], max(0.0, end - time.monotonic()))[0]:
            data = self._raw.recv(2048)
            answer = data[20:] if len(self._pseudo) == 8 else data
            if struct.unpack_from("!HH", answer) == (port, source):
                return answer[13]
        return 0


@pytest.mark.parametrize("width", VIPS)
@pytest.mark.parametrize("flags", [ACK, FIN | ACK])
def test_they_are_dropped_for_a_moment_and_then_reset(wire: segment.Segment, width: int, flags: int) -> None:
    _load(wire)
    client = Client(wire, width)
    assert client.flags_of_answer(flags) == 0
    assert client.flags_of_answer(flags) == 0
    time.sleep(0.2)
    assert client.flags_of_answer(flags) & RST
    assert client.flags_of_answer(flags) & RST


def test_each_connection_has_a_moment_of_its_own(wire: segment.Segment) -> None:
    _load(wire)
    client = Client(wire)
    for source in (PORT, PORT + 1):
        assert client.flags_of_answer(ACK, source=source) == 0
    time.sleep(0.2)
    assert client.flags_of_answer(ACK) & RST
    assert client.flags_of_answer(ACK, source=PORT + 2) == 0


async def test_all_have_a_moment_again_when_an_ip_comes_another_time(wire: segment.Segment) -> None:
    _load(wire)
    client = Client(wire)
    assert client.flags_of_answer(ACK) == 0
    await asyncio.sleep(0.4)
    assert client.flags_of_answer(ACK) & RST
    with entered(wire.hosts["node"]), contextlib.closing(LinuxKernel(str)) as kernel:
        await kernel.fill_maps(forget_strays())
    assert client.flags_of_answer(ACK) == 0


def test_they_are_reset_at_once_where_nothing_is_handed_over(wire: segment.Segment) -> None:
    _load(wire, hold_back=0)
    assert Client(wire).flags_of_answer(ACK) & RST


def test_what_begins_a_connection_is_answered_at_once(wire: segment.Segment) -> None:
    _load(wire)
    client = Client(wire)
    assert client.flags_of_answer(SYN) & RST, "nobody listens"
    with entered(wire.hosts["node"]):
        listener = socket.create_server((VIPS[4], 80))
    with listener:
        assert client.flags_of_answer(SYN) == SYN | ACK
