"""`strictarp move`, `drain`, `rebalance` and SIGTERM with real speakers: a client that asks all the time
hears one node answer, then another one, never two in turn, and hardly misses an answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from strictarp.cli.main import main
from strictarp.kube.client import Client
from strictarp.kube.custom import ANNOUNCEDADDRESSES
from strictarp.kube.objects import EVENTS, NAMESPACES, SERVICES
from strictarp.lab import namespaces
from support.forked import until
from support.segment import needs_root
from support.speaker_daemon import NS, furnish_services
from support.speaker_processes import Cluster, Listener, cluster, kubeconfig

pytestmark = [pytest.mark.netns, needs_root, pytest.mark.timeout(120)]

NODES = ("node1", "node2", "node3")
IPS = tuple(f"192.0.2.{number}" for number in range(100, 106))
MOST = 0.15
"""Seconds without an answer that count as none: some questions, on a busy machine. A claim alone takes 0.2.
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("speakers"), *NODES) as found:
        with namespaces.entered(found.wire.switch):
            until(lambda: found.ask(lambda client: client.version()), 10, "the API")
            found.ask(_furnish)
        for node in NODES:
            found.start(node)
        with namespaces.entered(found.wire.switch):
            until(lambda: set(owners(found)) == set(IPS), 15, "all addresses have owners")
            until(lambda: all('"Seasoned"' in found.log(node) for node in NODES), 10, "seasoned")
        yield found


async def _furnish(client: Client) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": NS}})
    await furnish_services(client, NODES, IPS)


def owners(found: Cluster) -> dict[str, str]:
    listing = found.ask(lambda client: client.list(ANNOUNCEDADDRESSES, NS))
    return {each.spec.address: each.status.node for each in listing.items if each.status.node}


def run(found: Cluster, *arguments: str) -> tuple[int, dict]:
    """A command, and its JSON."""
    target = found.folder / "result.json"
    target.unlink(missing_ok=True)
    code = main([*arguments, "--kubeconfig", str(found.kubeconfig), "--json", str(target)])
    return code, json.loads(target.read_text()) if target.exists() else {}


@pytest.fixture
def listener(made: Cluster) -> Iterator[Listener]:
    heard = Listener(made.wire, IPS)
    time.sleep(0.3)
    with namespaces.entered(made.wire.switch):
        yield heard
    heard.stop()


def settle(listener: Listener) -> None:
    """Go on listening for a while, then say what was heard."""
    time.sleep(0.4)
    listener.stop()


def test_a_move_is_seen_by_no_client(made: Cluster, listener: Listener) -> None:
    began, ip = time.monotonic(), IPS[0]
    before = owners(made)[ip]
    after = next(node for node in NODES if node != before)
    code, result = run(made, "move", "default/web0", "--to", after)
    settle(listener)
    assert code == 0
    assert (result["result"], result["source"], result["to"]) == ("moved", before, after)
    assert listener.turns(ip) == [made.wire.mac(before), made.wire.mac(after)]
    assert listener.longest_silence(ip, began) < MOST
    for other in IPS[1:]:
        assert len(listener.turns(other)) == 1
    service = made.ask(lambda client: client.get(SERVICES, "web0", "default"))
    assert "strictarp.io/move-to" not in (service.metadata.annotations or {}), "the wish is taken back"
    assert run(made, "move", ip, "--to", after)[1]["result"] == "unchanged"


def test_a_drain_is_seen_by_no_client_and_ends_without_a_move(made: Cluster, listener: Listener) -> None:
    began = time.monotonic()
    before = owners(made)
    node = before[IPS[0]]
    mine = [ip for ip, owner in before.items() if owner == node]
    code, result = run(made, "drain", node, "--dry-run")
    assert (code, result["result"], sorted(result["had"])) == (0, "dry run", sorted(mine))
    code, result = run(made, "drain", node)
    assert (code, result["result"], result["left"]) == (0, "drained", {})
    assert node not in owners(made).values()
    assert run(made, "move", "web0", "--to", node)[0] == 1, "it is drained"
    assert run(made, "undrain", node)[1]["result"] == "undrained"
    settle(listener)
    for ip in IPS:
        assert len(listener.turns(ip)) == (2 if ip in mine else 1)
        assert listener.longest_silence(ip, began) < MOST
    assert node not in owners(made).values()


def test_a_rebalance_evens_out_and_is_seen_by_no_client(made: Cluster, listener: Listener) -> None:
    began = time.monotonic()
    code, planned = run(made, "rebalance", "--dry-run")
    assert code == 0
    assert planned["result"] == "dry run"
    code, result = run(made, "rebalance", "--every", "0.1")
    settle(listener)
    assert (code, result["result"]) == (0, "moved")
    counts = list(owners(made).values())
    assert sorted(counts.count(node) for node in NODES) == [2, 2, 2]
    assert len(result["moves"]) == len(planned["moves"]) == 2
    assert sum(len(listener.turns(ip)) - 1 for ip in IPS) == 2
    assert all(listener.longest_silence(ip, began) < MOST for ip in IPS)
    assert run(made, "rebalance")[1]["result"] == "even"


def test_a_speaker_that_is_ended_hands_over_first(made: Cluster, listener: Listener) -> None:
    began = time.monotonic()
    node = owners(made)[IPS[0]]
    mine = [ip for ip, owner in owners(made).items() if owner == node]
    assert made.end(node) == 0
    until(lambda: node not in owners(made).values(), 5, "others have taken over")
    settle(listener)
    for ip in IPS:
        assert len(listener.turns(ip)) == (2 if ip in mine else 1)
        assert listener.longest_silence(ip, began) < MOST
    assert run(made, "move", "web0", "--to", node)[0] == 1, "no speaker lives there"
    made.start(node)


def test_a_wish_for_no_candidate_is_refused_also_by_the_speakers(made: Cluster) -> None:
    with namespaces.entered(made.wire.switch):
        assert run(made, "move", "web1", "--to", "node9") == (1, {})
        wish = {"metadata": {"annotations": {"strictarp.io/move-to": "node9"}}}
        made.ask(lambda client: client.merge_patch(SERVICES, "web1", wish, "default"))

        def told() -> list[str]:
            events = made.ask(lambda client: client.list(EVENTS, "default")).items
            return [each.message for each in events if each.reason == "moveRefused"]

        until(told, 10, "an Event")
        assert told() == ["strictarp.io/move-to: node9: no speaker lives there"]


def test_usage_and_an_api_that_is_away_have_codes_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = tmp_path / "away"
    away.write_text(kubeconfig("http://127.0.0.1:1"))
    for arguments in (["move", "web", "--to", "n"], ["drain", "n"], ["undrain", "n"], ["rebalance"]):
        assert main([*arguments, "--kubeconfig", str(away)]) == 3
        assert main([*arguments, "--kubeconfig", str(tmp_path / "none")]) == 3
    assert main(["move", "web"]) == 64
    assert "Traceback" not in capsys.readouterr().err
