"""The annotation that names a Service's next owner: when it is in force, and why it is refused."""

from __future__ import annotations

import ipaddress

import pytest

from strictarp.kube.objects import Node
from strictarp.speaker.candidates import Verdict, evaluate
from strictarp.speaker.links import Place
from strictarp.speaker.picture import vips
from strictarp.speaker.wishes import LASTS, PATIENCE, Wishes, refusal
from support.speaker_objects import advertisement, facts, node, pool, service, slice_of

WEB = "default/web"
BOTH = pool("lab", "192.0.2.100-192.0.2.119", "2001:db8::/120")


def verdict(wish: str, *nodes: Node, ips: tuple[str, ...] = (), **advertised: object) -> Verdict:
    known = facts(pools=[BOTH], nodes=nodes, advertisements=[advertisement("lab", **advertised)])
    asked = service("web", *ips, annotations={"strictarp.io/move-to": wish} if wish else None)
    return evaluate(asked, [slice_of()], known)


def test_a_wish_for_a_candidate_is_in_force_until_it_lapses_and_anew_when_it_changes() -> None:
    wishes = Wishes()
    assert wishes.in_force({WEB: verdict("node2")}, 0.0) == {WEB: "node2"}
    assert wishes.in_force({WEB: verdict("node2")}, LASTS - 1) == {WEB: "node2"}
    assert wishes.in_force({WEB: verdict("node2")}, LASTS) == {}
    assert wishes.in_force({WEB: verdict("node3")}, LASTS) == {WEB: "node3"}
    assert wishes.in_force({WEB: verdict("")}, LASTS + 1) == {}
    assert wishes.in_force({WEB: verdict("node3")}, 3 * LASTS) == {WEB: "node3"}


@pytest.mark.parametrize(
    ("judged", "why"),
    [
        (verdict("node9"), "no speaker lives there"),
        (
            verdict("node2", node("node2", NetworkUnavailable="True")),
            "condition NetworkUnavailable is True",
        ),
        (verdict("node2", node("node2", drain="true")), "it is drained; end that first (strictarp undrain)"),
        (
            verdict(
                "node2",
                node("node1", labels={"fast": ""}),
                preferredNodeSelectors=[{"weight": 5, "preference": {"matchLabels": {"fast": ""}}}],
            ),
            "L2Advertisements prefer node1 (weight 5, here 0), so it would go back there; change "
            "spec.preferredNodeSelectors, or drain that node",
        ),
        (
            evaluate(service(annotations={"strictarp.io/move-to": "node2"}), [], facts()),
            "nobody may announce the Service: it has no endpoint that can serve",
        ),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_with_the_reason(judged: Verdict, why: str) -> None:
    wish = judged.wish or "node2"
    assert refusal(judged, wish) == why
    wishes = Wishes()
    assert wishes.in_force({WEB: judged}, 0.0) == {}


def test_a_refusal_is_told_once_when_it_has_lasted_and_again_when_it_is_another_one() -> None:
    wishes, away, gone = Wishes(), verdict("node9"), verdict("node8")
    told = []
    for now, judged in (
        (0.0, away),
        (PATIENCE - 0.1, away),
        (PATIENCE, away),
        (10.0, away),
        (20.0, gone),
        (20.0 + PATIENCE, gone),
        (30.0, verdict("node2")),
        (40.0, gone),
        (43.0, gone),
    ):
        wishes.in_force({WEB: judged}, now)
        told += [(now, key, text) for key, text in wishes.news({WEB: judged}, now)]
    assert told == [
        (PATIENCE, WEB, "strictarp.io/move-to: node9: no speaker lives there"),
        (20.0 + PATIENCE, WEB, "strictarp.io/move-to: node8: no speaker lives there"),
        (43.0, WEB, "strictarp.io/move-to: node8: no speaker lives there"),
    ]  # fmt: skip


def test_a_node_that_reaches_one_address_only_would_part_a_service() -> None:
    subnets = {
        name: tuple(
            (ipaddress.ip_address(text).packed, bits)
            for text, bits in (("192.0.2.11", 24), ("2001:db8::11", 64))[: 1 if name == "node2" else 2]
        )
        for name in ("node1", "node2", "node3")
    }
    known = facts(pools=[BOTH], subnets=subnets)
    judged = evaluate(service("web", "192.0.2.100", "2001:db8::42"), [slice_of()], known)
    assert refusal(judged, "node2") == "no link in the segment of 2001:db8::42"
    assert refusal(judged, "node3") is None


def test_every_address_of_the_service_and_who_shares_it_has_the_wish() -> None:
    place = Place(2, "eth0", b"\2\0\0\0\0\1", True, ((ipaddress.ip_address("192.0.2.11").packed, 24),))
    known = facts()
    verdicts = {
        f"default/{name}": evaluate(service(name, "192.0.2.100"), [slice_of(name)], known)
        for name in ("mail", "web")
    }
    (found,) = vips(verdicts, [place], "node1", {WEB: "node3"})[2].values()
    assert found.wish == "node3"
    (without,) = vips(verdicts, [place], "node1")[2].values()
    assert without.wish == ""


def test_a_drained_node_comes_after_all_others_and_any_value_but_false_drains() -> None:
    marks = {"node1": "2026-11-26T03:00:00Z", "node2": "false"}
    nodes = [node(name, drain=mark) for name, mark in marks.items()]
    order = verdict("", *nodes, node("node3", Ready="False")).order
    assert [each.node for each in order] == ["node2", "node3", "node1"]
    assert [each.drained for each in order] == [False, False, True]
