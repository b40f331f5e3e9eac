"""Whatever an object holds, the controller goes on, others keep what they have, and the fault is named."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import msgspec
from hypothesis import HealthCheck, given, settings

from strictarp.controller.configuring import Configuration, Rules, configure
from strictarp.controller.guard import overlaps
from strictarp.controller.plan import RESOURCES, document, make_plan
from strictarp.controller.pools import with_taken
from strictarp.controller.reconcile import Book, Decision, settle, stand_still
from strictarp.controller.requests import conflicts, held, ours
from strictarp.kube.custom import ADDRESSCONFLICTS, IPADDRESSPOOLS
from strictarp.kube.documents import decode
from strictarp.kube.objects import NAMESPACES, NODES, SERVICES
from strictarp.kube.ranges import parse_ip
from strictarp.lab.apiserver.documents import merge
from support.mutated import Body, listed, mutations

NS = "metallb-system"
TOLD = re.compile(r"^IPAddressPool \S+: \S+: .+$", re.DOTALL)


def pool(name: str, *addresses: str, **spec: object) -> Body:
    return {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": name, "namespace": NS, "resourceVersion": "3", "labels": {"a": "b"}},
        "spec": {"addresses": list(addresses), **spec},
        "status": {"assignedIPv4": 1, "availableIPv4": 2, "assignedIPv6": 0, "availableIPv6": 0},
    }


def service(name: str, ip: str, born: str, **spec: object) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": "default",
            "creationTimestamp": born,
            "labels": {"app": name},
            "annotations": {"metallb.io/address-pool": "odd" if name == "odd" else "lab"},
        },
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "203.0.113.9",
            "clusterIPs": ["203.0.113.9"],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"protocol": "TCP", "port": 80}],
            **spec,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"}] if ip else []}},
    }


GOOD_POOL = pool("lab", "192.0.2.100-192.0.2.109")
GOOD = (service("good", "192.0.2.105", "2025-01-01T00:00:00Z"), service("waits", "", "2026-01-01T00:00:00Z"))
SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]}
ODD = {
    "service": service(
        "odd",
        "198.51.100.7",
        "2024-01-01T00:00:00Z",
        loadBalancerIP="198.51.100.7",
        externalTrafficPolicy="Local",
        selector={"app": "odd"},
        loadBalancerClass="",
    ),
    "pool": pool(
        "odd",
        "198.51.100.0/24",
        autoAssign=True,
        avoidBuggyIPs=True,
        serviceAllocation={
            "priority": 5,
            "namespaces": ["default"],
            "namespaceSelectors": [SELECTOR],
            "serviceSelectors": [{"matchLabels": {"app": "odd"}}],
        },
    ),
    "namespace": {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "default", "labels": {"a": "b", "c": "d"}},
    },
    "node": {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
    },
    "conflict": {
        "apiVersion": "strictarp.io/v1alpha1",
        "kind": "AddressConflict",
        "metadata": {"name": "ip-198.51.100.9", "namespace": NS},
        "spec": {"address": "198.51.100.9"},
    },
}


def turn(
    before: Configuration, book: Book, odd: dict[str, Body], good: Sequence[Body] = GOOD
) -> tuple[Configuration, Book, dict[str, Decision]]:
    """What the daemon does with fresh lists: the same functions in the same order."""
    services = listed(SERVICES, *good, odd["service"])
    pools = listed(IPADDRESSPOOLS, GOOD_POOL, odd["pool"])
    unreadable = [f"IPAddressPool {each.key.rpartition('/')[2]}: {each.told()}" for each in pools.refused]
    by_key = {each.key: each for each in services.items}
    namespaces, nodes = listed(NAMESPACES, odd["namespace"]).items, listed(NODES, odd["node"]).items
    taken = {
        *conflicts(listed(ADDRESSCONFLICTS, odd["conflict"]).items),
        *(ip for each in services.refused for ip in held(each.body)),
    }
    now = configure(before, pools.items, namespaces, by_key.values(), Rules(), unreadable=unreadable)
    overlaps(now.pools or (), nodes, by_key.values(), Rules().surroundings)
    if now.pools is None:
        return now, *stand_still(book, by_key, why="w")
    return now, *settle(book, with_taken(now.pools, taken), by_key, now="2026-01-01T00:00:00Z")


def written(body: Body, decisions: dict[str, Decision]) -> Body:
    """The Service after the write that was decided."""
    meta = body["metadata"]
    decision = decisions.get(f"{meta['namespace']}/{meta['name']}")
    if decision is None or decision.patch is None:
        return body
    made: Body = json.loads(json.dumps(merge(body, msgspec.to_builtins(decision.patch))))
    return made


SOUND = turn(Configuration(), Book(), ODD)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations(ODD))
def test_a_malformed_object_moves_nobodys_address(odd: dict[str, Body]) -> None:
    for start in (SOUND[0], Configuration()):  # as it changes, and after a restart
        now, book, decisions = turn(start, Book(), odd)
        assert decisions["default/good"].ips == ("192.0.2.105",)
        assert not any(each.reason == "ClearAssignment" for each in decisions["default/good"].events)
        assert all(TOLD.match(fault) for fault in now.faults), now.faults
        assert len(set(now.faults)) == len(now.faults)
        given = [ip for each in decisions.values() for ip in each.ips]
        assert len(set(given)) == len(given)
        kept = listed(SERVICES, odd["service"])
        if kept.refused:
            status = {parse_ip("198.51.100.7")} & set(held(kept.refused[0].body))
            assert not status & {parse_ip(ip) for ip in given}
        # What has been told is not told again by the same objects.
        good = [written(body, decisions) for body in GOOD]
        after, _, again = turn(now, book, odd | {"service": written(odd["service"], decisions)}, good)
        assert [each for decision in again.values() for each in decision.events] == []
        assert [each.patch for each in again.values() if each.patch is not None] == []
        assert after.faults == now.faults


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations(ODD))
def test_the_plan_of_malformed_objects_is_printed_with_what_is_wrong(odd: dict[str, Body]) -> None:
    objects, unreadable = decode([*odd.values(), GOOD_POOL, *GOOD], RESOURCES, namespace=NS)
    plan = make_plan(objects, unreadable)
    json.dumps(document(plan))
    assert plan.services["default/good"].ips == ("192.0.2.105",)
    assert all(TOLD.match(each) for each in plan.errors), plan.errors


def test_a_pool_that_cannot_be_decoded_takes_nothing_away_after_a_restart() -> None:
    broken = pool("odd", "198.51.100.0/24", autoAssign="yes")
    now, _, decisions = turn(Configuration(), Book(), ODD | {"pool": broken})
    assert now.faults == ("IPAddressPool odd: spec.autoAssign: Expected `bool | null`, got `str`",)
    assert decisions["default/odd"].ips == ("198.51.100.7",)
    assert decisions["default/odd"].events == ()


def test_the_address_of_a_service_that_cannot_be_decoded_is_given_to_nobody() -> None:
    odd = service("odd", "192.0.2.100", "2024-01-01T00:00:00Z", healthCheckNodePort="x")
    _, _, decisions = turn(Configuration(), Book(), ODD | {"service": odd})
    assert "default/odd" not in decisions
    assert decisions["default/waits"].ips == ("192.0.2.101",)
    plan = make_plan(*decode([GOOD_POOL, *GOOD, odd], RESOURCES, namespace=NS))
    assert plan.services["default/waits"].ips == ("192.0.2.101",)


def test_a_service_of_an_unreadable_class_is_not_ours() -> None:
    odd = service("odd", "192.0.2.100", "2024-01-01T00:00:00Z", loadBalancerClass="x.example/y")
    assert not ours(listed(SERVICES, odd).items[0], "")
