"""What a node's answer proves, and when a rollout is done."""

import json

import msgspec
import pytest

from strictarp.cluster.nodes import Seen, internal_address, judge, restored, wrong_text
from strictarp.cluster.rollout import rollout
from strictarp.kube.objects import DaemonSet, Node


def _answer(requested: bool, in_force: bool, reason: str = "why") -> tuple[int, bytes]:
    document = {
        "requested": requested,
        "inForce": in_force,
        "reason": reason,
        "sysctls": {},
        "interfaces": {},
    }
    return 200, json.dumps(document).encode()


@pytest.mark.parametrize(
    ("wanted", "requested", "in_force", "verdict"),
    [
        (True, True, True, "right"),
        (True, True, False, "wrong"),
        (True, False, True, "wrong"),
        (False, False, True, "right"),
        (False, False, False, "right"),
        (False, True, True, "wrong"),
    ],
)
def test_a_proxy_that_tells(wanted: bool, requested: bool, in_force: bool, verdict: str) -> None:
    seen = judge("node1", "192.0.2.11", _answer(requested, in_force), wanted=wanted)
    assert (seen.verdict, seen.in_force) == (verdict, in_force)


@pytest.mark.parametrize(
    ("requested", "in_force", "put_back", "was", "expected"),
    [
        (False, False, None, False, True),
        (False, True, ["net.ipv4.conf.all.arp_ignore = 1"], False, True),
        (False, True, [], False, False),
        (False, True, [], True, True),
        (True, True, None, False, False),
    ],
)
def test_sysctls_are_as_before_when_the_proxy_says_so_or_they_are_seen_to_be(
    requested: bool, in_force: bool, put_back: list[str] | None, was: bool, expected: bool
) -> None:
    code, body = _answer(requested, in_force)
    document = json.loads(body) | ({} if put_back is None else {"restored": put_back}) | {"new": {"field": 1}}
    now = judge("a", "", (code, json.dumps(document).encode()), wanted=True)
    before = Seen("a", "", "right", "", in_force=was)
    assert restored((before,), (now,))[0].restored is expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((404, b"404 page not found"), "kube-proxy, which does not tell"),
        ((503, b""), "HTTP status 503"),
        ((200, b"ok"), "cannot be read"),
        ((200, b"\xff"), "cannot be read"),
        ((200, b'{"requested": 1}'), "cannot be read"),
        ("no answer within 3 s", "no answer within 3 s"),
    ],
)
def test_a_node_that_does_not_tell_is_named_with_the_command_to_look(
    answer: tuple[int, bytes] | str, reason: str
) -> None:
    seen = judge("node1", "192.0.2.11", answer, wanted=True)
    assert (seen.verdict, seen.reached) == ("unseen", not isinstance(answer, str))
    assert reason in seen.reason
    assert "192.0.2.11 sysctl net.ipv4.conf.all.arp_ignore" in seen.check


def test_wrong_nodes_are_told_together() -> None:
    nodes = [
        judge(name, "192.0.2.11", _answer(True, name == "b", f"{name}0: arp_ignore 3"), wanted=True)
        for name in ("a", "b", "c")
    ]
    assert wrong_text(nodes) == "a: a0: arp_ignore 3; c: c0: arp_ignore 3"


def test_the_first_internal_address_counts() -> None:
    addresses = [("Hostname", "x"), ("InternalIP", "192.0.2.11"), ("InternalIP", "2001:db8::11")]
    node = msgspec.convert(
        {"status": {"addresses": [{"type": kind, "address": text} for kind, text in addresses]}}, Node
    )
    assert internal_address(node) == "192.0.2.11"
    assert internal_address(Node()) == ""


@pytest.mark.parametrize(
    ("observed", "updated", "available", "done", "text"),
    [
        (1, 3, 3, False, "the rollout has not begun yet"),
        (2, 1, 2, False, "1 of 3 proxies are new"),
        (2, 3, 2, False, "all 3 proxies are new, 2 of them available"),
        (2, 3, 3, True, "all 3 proxies are new and available"),
    ],
)
def test_a_rollout_is_done_when_all_are_new_and_available(
    observed: int, updated: int, available: int, done: bool, text: str
) -> None:
    daemonset = msgspec.convert(
        {
            "metadata": {"generation": 2},
            "status": {
                "observedGeneration": observed,
                "desiredNumberScheduled": 3,
                "updatedNumberScheduled": updated,
                "numberAvailable": available,
            },
        },
        DaemonSet,
    )
    state = rollout(daemonset, 2)
    assert (state.done, state.text) == (done, text)
