"""Random clusters: the plan names the node that a naive model of MetalLB's speaker names."""

from __future__ import annotations

import random
from typing import Any

import pytest

from strictarp.kube.documents import decode
from strictarp.speaker import l2status
from strictarp.speaker.planning import RESOURCES, Plan, Situation, make_plan
from support.metallb_speaker import Cluster, kept_statuses, l2_status

Json = dict[str, Any]
NS = "metallb-system"
LABELS = ("zone", "rack", "edge")


def _labels(chance: random.Random) -> dict[str, str]:
    return {name: chance.choice("ab") for name in LABELS if chance.random() < 0.6}


def _selector(chance: random.Random) -> Json:
    key = chance.choice(LABELS)
    if chance.random() < 0.5:
        return {"matchLabels": {key: chance.choice("ab")}}
    operator = chance.choice(("In", "NotIn", "Exists", "DoesNotExist"))
    values = {"values": [chance.choice("ab")]} if "In" in operator else {}
    return {"matchExpressions": [{"key": key, "operator": operator, **values}]}


def _object(api: str, kind: str, name: str, namespace: str = "", **rest: object) -> Json:
    meta: Json = {"name": name, "labels": rest.pop("labels", {}), "annotations": rest.pop("annotations", {})}
    return {"apiVersion": api, "kind": kind, "metadata": meta | {"namespace": namespace}, **rest}


def _node(chance: random.Random, number: int) -> Json:
    labels = _labels(chance)
    if chance.random() < 0.1:
        labels["node.kubernetes.io/exclude-from-external-load-balancers"] = ""
    down = chance.choice(("False", "False", "False", "True"))
    conditions = [{"type": "Ready", "status": "True"}, {"type": "NetworkUnavailable", "status": down}]
    return _object("v1", "Node", f"node-{number}", labels=labels, status={"conditions": conditions})


def _advertisement(chance: random.Random, name: str) -> Json:
    spec: Json = {}
    if chance.random() < 0.4:
        spec["ipAddressPools"] = [chance.choice(("four", "six", "nowhere"))]
    if chance.random() < 0.3:
        spec["ipAddressPoolSelectors"] = [_selector(chance)]
    if chance.random() < 0.4:
        drawn = [_selector(chance) for _ in range(chance.randint(1, 2))]
        spec["nodeSelectors"] = [each for at, each in enumerate(drawn) if each not in drawn[:at]]
    if chance.random() < 0.2:
        spec["serviceSelectors"] = [_selector(chance)]
    if chance.random() < 0.4:
        spec["preferredNodeSelectors"] = [
            {"weight": chance.randint(1, 100), "preference": _selector(chance)} for _ in range(2)
        ]
    return _object("metallb.io/v1beta1", "L2Advertisement", name, NS, spec=spec)


def _service(chance: random.Random, number: int) -> Json:
    ips = [f"192.0.2.{chance.randint(100, 199)}", f"2001:db8::{chance.randint(1, 0xFF):x}"]
    chance.shuffle(ips)
    both = _object(
        "v1",
        "Service",
        f"web-{number}",
        "default",
        labels=_labels(chance),
        annotations={"metallb.io/allow-shared-ip": "k"} if chance.random() < 0.15 else {},
        spec={
            "type": "LoadBalancer",
            "externalTrafficPolicy": chance.choice(("Local", "Cluster", "Cluster")),
        },
    )
    # One pool holds IPv4, another IPv6, so a Service has one address here.
    return both | {"status": {"loadBalancer": {"ingress": [{"ip": ips[0]}]}}}


def _slice(chance: random.Random, service: Json, nodes: list[Json]) -> Json:
    endpoints = [
        {
            "addresses": ["198.51.100.9"],
            "nodeName": chance.choice(nodes)["metadata"]["name"],
            "conditions": {
                name: chance.random() < 0.7 for name in ("ready", "serving") if chance.random() < 0.8
            },
        }
        for _ in range(chance.randint(0, 3))
    ]
    name = service["metadata"]["name"]
    labels = {"kubernetes.io/service-name": name}
    return _object(
        "discovery.k8s.io/v1", "EndpointSlice", f"{name}-1", "default", labels=labels, endpoints=endpoints
    ) | {"addressType": "IPv4"}


class World:
    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.nodes = [_node(chance, number) for number in range(chance.randint(1, 7))]
        self.pools = [
            _object("metallb.io/v1beta1", "IPAddressPool", name, NS, labels=_labels(chance), spec=spec)
            for name, spec in (
                ("four", {"addresses": ["192.0.2.100-192.0.2.180"]}),
                ("six", {"addresses": ["2001:db8::/120"]}),
            )
        ]
        self.advertisements = [_advertisement(chance, f"ad-{n}") for n in range(chance.randint(1, 3))]
        self.services = [_service(chance, number) for number in range(8)]
        self.slices = [_slice(chance, each, self.nodes) for each in self.services]
        names = [each["metadata"]["name"] for each in self.nodes]
        self.alive = set(chance.sample(names, chance.randint(1, len(names))))
        self.model = Cluster(self.pools, self.advertisements, self.nodes, self.slices)

    def plan(self, service: Json) -> Plan:
        documents = [*self.pools, *self.advertisements, *self.nodes, *self.slices, service]
        objects, unreadable = decode(documents, RESOURCES, namespace=NS)
        return make_plan(objects, unreadable, Situation(frozenset(self.alive)))


@pytest.mark.parametrize("block", range(10))
def test_every_address_has_metallbs_owner_and_order(block: int) -> None:
    announced = silent = 0
    for seed in range(block * 30, block * 30 + 30):
        world = World(seed)
        for service in world.services:
            ranked = world.model.ranked(service, world.alive)
            plan = world.plan(service)
            found = list(plan.ips.values())
            assert plan.errors == ()
            ours = list(found[0].order) if found else []
            assert ours == ranked, (seed, service["metadata"]["name"])
            assert (found[0].owner if found else None) == world.model.owner(service, world.alive)
            announced, silent = announced + bool(ranked), silent + (not ranked)
    assert announced > 40, "the model is not asked about silence only"
    assert silent > 20


@pytest.mark.parametrize(("owner", "left_by"), [("node1", "node1"), ("node1", "node2"), (None, "node1")])
def test_metallbs_speakers_tidy_up_what_a_killed_speaker_of_ours_has_left(
    owner: str | None, left_by: str
) -> None:
    ours = {**l2status.body("default/web", left_by), **l2status.status("default/web", left_by, ())}
    kept = kept_statuses([ours], "default/web", owner, ["node1", "node2", "node3"])
    nodes = [each["metadata"]["labels"]["metallb.io/node"] for each in kept]
    assert nodes == ([owner] if owner else [])
    if owner == left_by:  # it takes ours for its own: it must say what its own would
        assert kept[0]["status"] == l2_status("default/web", left_by)["status"]
        assert kept[0]["metadata"]["labels"] == l2_status("default/web", left_by)["metadata"]["labels"]
        assert "finalizers" not in kept[0]["metadata"]
