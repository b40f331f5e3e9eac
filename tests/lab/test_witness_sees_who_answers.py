import ipaddress
import multiprocessing
import time
from pathlib import Path

import msgspec
import pytest

from strictarp.arp import frames
from strictarp.lab import figures, namespaces, witness
from strictarp.lab.begun import begun_file
from strictarp.lab.figures import Witnessed
from strictarp.lab.topology import Network

VIP = "192.0.2.100"


def test_each_request_names_another_asker_and_answers_lead_back_to_it() -> None:
    target = ipaddress.IPv4Address(VIP).packed
    for number in (1, 2, 70_000):
        asked = frames.decode(witness.request(number, target))
        assert asked.is_probe
        answer = frames.reply(bytes.fromhex("020000000001"), asked)
        record = witness.seen(1.5, "node1", answer)
        assert record is not None
        assert (record.asked, record.mac, record.sender) == (number, "02:00:00:00:00:01", VIP)


def test_replies_to_other_hosts_belong_to_no_request() -> None:
    assert witness.asked_number(bytes.fromhex("020000000001")) == 0


def test_frames_that_are_no_arp_leave_no_record() -> None:
    assert witness.seen(0.0, "node1", b"\xff" * 64) is None


def _witness(out: Path) -> None:
    witness.run(VIP, out, interval=0.02)


@pytest.mark.netns
def test_the_witness_counts_every_kernel_that_answers_and_follows_a_node_that_comes_back(
    tmp_path: Path,
) -> None:
    network = Network(3)
    network.build()
    for name in ("node1", "node2"):
        namespaces.ip(network.spaces[name], f"addr add {VIP}/32 dev lo")
    out = tmp_path / "seen"
    with namespaces.entered(network.spaces["wire"]):
        process = multiprocessing.get_context("fork").Process(target=_witness, args=(out,))
        process.start()
    wait_for(begun_file(out))
    time.sleep(0.3)
    network.cut("node1")
    network.forget_node("node1")
    time.sleep(0.3)
    cut = time.monotonic()
    network.build_node("node1")
    namespaces.ip(network.spaces["node1"], f"addr add {VIP}/32 dev lo")
    time.sleep(0.5)
    process.terminate()
    process.join(10)
    found = msgspec.json.decode(out.read_bytes(), type=Witnessed)
    assert process.exitcode == 0
    assert figures.max_simultaneous(found.frames, VIP) == 2
    counts = {len(macs) for macs in figures.answerers(found.frames, VIP).values()}
    assert counts == {1, 2}  # one while node1 was away
    assert any(frame.host == "node1" and frame.at > cut for frame in found.frames)
    assert found.dropped == 0


def wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)
