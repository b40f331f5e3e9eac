"""Preflight before the diff: what nodes would lose, which nodes are not known, and who may say yes to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from strictarp.arp.facts import Host
from strictarp.arp.facts_text import text_of
from strictarp.cluster import shell
from strictarp.cluster.nodes import Seen
from strictarp.cluster.outlook import harmful_text, lines, outlooks
from support.command_hosts import IPVS, VIP, host, nic
from support.enable_bench import Bench, running_bench

LOST = "192.0.2.53 on eth0 is answered no more: "


def _node(number: int, *more: str) -> Host:
    lines = (f"addr add 127.0.0.{10 + number}/32 dev eth0", "addr add 192.0.2.11/24 dev eth0", VIP)
    return host(*lines, *more, devices=[nic(), IPVS])


def _file(folder: Path, name: str, made: Host) -> str:
    path = folder / name
    path.write_bytes(msgspec.json.encode(text_of(made)))
    return str(path)


ANYCAST = "addr add 192.0.2.53/32 dev lo"


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(shell, "POLL", 0.05)
    async with running_bench(tmp_path) as made:
        yield made


async def test_a_loss_that_somebody_notices_is_not_covered_by_yes(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    file = _file(bench.folder, "n1.json", _node(1, ANYCAST))
    version = bench.api.version
    code, report = await bench.run("enable", "--yes", "--facts", file)
    assert (code, report["result"], bench.api.version) == (1, "declined", version)
    assert str(report["state"]).startswith(f"not confirmed, since answers would be missed (node1: {LOST}")
    told = capfd.readouterr().err
    assert f"  node1 ({file}): 1 answer(s) would be missed\n    LOST: {LOST}" in told
    assert told.index("LOST") < told.index("+  strictARP: true")
    assert "add --accept-losses to go on all the same" in told
    assert "ssh 127.0.0.12 strictarp facts --json > node2.json" in told
    code, report = await bench.run("enable", "--yes", "--facts", file, "--accept-losses")
    assert (code, report["result"]) == (0, "done")
    first, second, _ = report["preflight"]  # type: ignore[misc]
    assert first["source"] == file
    assert first["harmful"][0].startswith(LOST)
    assert (second["source"], second["command"]) == (
        "",
        "ssh 127.0.0.12 strictarp facts --json > node2.json",
    )


async def test_without_losses_yes_is_enough_and_all_nodes_are_known(bench: Bench) -> None:
    files = [_file(bench.folder, f"n{number}.json", _node(number)) for number in (1, 2, 3)]
    options = [word for file in files for word in ("--facts", file)]
    code, report = await bench.run("enable", "--yes", *options)
    assert (code, [each["harmful"] for each in report["preflight"]]) == (0, [[], [], []])  # type: ignore[attr-defined]
    assert all(each["source"] for each in report["preflight"])  # type: ignore[attr-defined]


async def test_a_dry_run_shows_losses_and_is_no_failure(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    file = _file(bench.folder, "n1.json", _node(1, ANYCAST))
    code, report = await bench.run("enable", "--dry-run", "--facts", file)
    assert (code, report["result"]) == (0, "dry run")
    assert f"LOST: {LOST}" in capfd.readouterr().err


async def test_where_nothing_is_to_be_changed_nobody_is_asked(bench: Bench) -> None:
    await bench.run("enable", "--yes")
    file = _file(bench.folder, "n1.json", _node(1, ANYCAST))
    code, report = await bench.run("enable", "--facts", file)
    assert (code, report["result"]) == (0, "unchanged")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((9,), "n9.json: none of its addresses is an InternalIP of a node; collect it on a node"),
        ((1, 1), "these are facts of node1, as are those in "),
    ],
)
async def test_facts_of_no_node_or_of_one_twice_are_refused(
    bench: Bench, capfd: pytest.CaptureFixture[str], numbers: tuple[int, ...], message: str
) -> None:
    files = [
        _file(bench.folder, f"{'m' * turn}n{number}.json", _node(number))
        for turn, number in enumerate(numbers)
    ]
    options = [word for file in files for word in ("--facts", file)]
    assert (await bench.run("enable", "--yes", *options))[0] == 1
    assert message in capfd.readouterr().err


async def test_disable_loses_nothing_and_asks_nothing(bench: Bench) -> None:
    await bench.run("enable", "--yes")
    code, report = await bench.run("disable", "--yes")
    assert (code, report["preflight"]) == (0, [])


def test_a_node_whose_proxy_has_it_in_force_already_loses_nothing_more() -> None:
    seen = (Seen("a", "192.0.2.11", "right", "", in_force=True), Seen("b", "", "unseen", "no address"))
    made = outlooks(seen, {})
    assert lines(made) == [
        "a (its proxy: strictARP is in force there already): no answer would be missed",
        "not known for b; to know it, run",
        "  ssh b strictarp facts --json > b.json",
        "  and repeat with --facts b.json",
    ]
    assert harmful_text(made) == ""


def test_an_interface_that_defeats_it_is_told() -> None:
    weak = host("addr add 192.0.2.11/24 dev eth0", VIP, "eth0.arp_ignore=3", devices=[nic(), IPVS])
    (made,) = outlooks((Seen("a", "", "unseen", ""),), {"a": ("a.json", weak)})
    assert made.ineffective
    assert lines((made,))[1].startswith("  not in force: eth0: ")
