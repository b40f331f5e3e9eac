"""Names, types and labels of metrics, as dashboards and alarms for kube-proxy expect them."""

import time
from collections.abc import Iterable

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from strictarp.kube.model import Metadata
from strictarp.proxy import metrics as proxy_metrics
from strictarp.proxy.metrics import Metrics, trigger_time
from strictarp.proxy.operations import ChangeSets, Operation
from support.model_kernel import ModelKernel
from support.planning import plan
from support.proxy_objects import endpoint_slice, service
from support.syncing import Node

# kube-proxy's, from its own /metrics in ipvs mode: name, type, labels.
EXPECTED = {
    ("kubeproxy_sync_proxy_rules_duration_seconds", "histogram", ()),
    ("kubeproxy_sync_full_proxy_rules_duration_seconds", "histogram", ()),
    ("kubeproxy_network_programming_duration_seconds", "histogram", ()),
    ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge", ()),
    ("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "gauge", ()),
    ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "gauge", ()),
    ("kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter", ()),
    ("kubeproxy_sync_proxy_rules_service_changes_pending", "gauge", ()),
    ("kubeproxy_sync_proxy_rules_service_changes_total", "counter", ()),
    ("kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "counter", ()),
    ("kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total", "counter", ()),
    ("kubeproxy_conntrack_reconciler_sync_duration_seconds", "histogram", ()),
    ("kubeproxy_conntrack_reconciler_deleted_entries_total", "counter", ()),
    ("kubeproxy_proxy_healthz_total", "counter", ("code",)),
    ("kubeproxy_proxy_livez_total", "counter", ("code",)),
    ("rest_client_requests_total", "counter", ("code", "host", "method")),
    ("rest_client_request_duration_seconds", "histogram", ("host", "verb")),
    ("kubernetes_feature_enabled", "gauge", ("name", "stage")),
    ("kubernetes_build_info", "gauge", ("git_version",)),
}


def _families(registry: CollectorRegistry) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = family.name + ("_total" if family.type == "counter" else "")
        yield name, family.type, tuple(sorted(labels))


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_metric_of_kube_proxy_in_ipvs_mode_is_there_with_type_and_labels() -> None:
    made = Metrics()
    made.asked("healthz", 200)
    made.asked("livez", 503)
    made.answers = lambda: {("GET", "200"): 3}
    made.requested("GET", 0.1)
    assert set(_families(made.registry)) >= EXPECTED
    assert not any(
        "iptables_rules" in name or "iptables_last" in name for name, _, _ in _families(made.registry)
    )


def test_buckets_are_those_of_kube_proxy() -> None:
    made = Metrics()
    for name, count, last in (
        ("kubeproxy_sync_proxy_rules_duration_seconds", 15, "16.384"),
        ("kubeproxy_network_programming_duration_seconds", 81, "300.0"),
    ):
        found = [
            sample.labels["le"]
            for family in made.registry.collect()
            for sample in family.samples
            if sample.name == f"{name}_bucket"
        ]
        assert (len(found), found[-2], found[-1]) == (count + 1, last, "+Inf")


def test_changes_are_pending_until_a_turn_that_did_everything() -> None:
    made = Metrics()
    made.changed("service")
    made.changed("endpoint")
    made.changed("endpoint")
    pending = "kubeproxy_sync_proxy_rules_endpoint_changes_pending"
    assert _value(made, pending) == 2
    made.synced(0.1, full=False, failed=True)
    assert _value(made, pending) == 2
    made.synced(0.1, full=True, failed=False)
    assert _value(made, pending) == 0
    assert _value(made, "kubeproxy_sync_proxy_rules_endpoint_changes_total") == 2
    assert _value(made, "kubeproxy_sync_proxy_rules_duration_seconds_count") == 2
    assert _value(made, "kubeproxy_sync_full_proxy_rules_duration_seconds_count") == 1


def test_network_programming_counts_from_the_trigger_and_only_since_this_start() -> None:
    made = Metrics()
    made.changed("endpoint", triggered=time.time() - 100)
    made.changed("endpoint", triggered=time.time() + 0.001)
    made.changed("endpoint")
    made.synced(0.1, full=False, failed=False)
    assert _value(made, "kubeproxy_network_programming_duration_seconds_count") == 1
    made.synced(0.1, full=False, failed=False)
    assert _value(made, "kubeproxy_network_programming_duration_seconds_count") == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-01-01T00:00:00Z", 1704067200.0),
        ("2024-01-01T00:00:00.250000000Z", 1704067200.25),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_trigger_time_is_read_as_go_writes_it(text: str, seconds: float | None) -> None:
    piece = endpoint_slice("a", ["198.51.100.1"])
    told = Metadata(name="a", annotations={proxy_metrics.TRIGGER_ANNOTATION: text})
    piece = msgspec.structs.replace(piece, metadata=told)
    assert trigger_time(piece) == seconds
    assert trigger_time(None) is None


async def test_a_turn_that_only_asks_after_ipvs_is_no_sync() -> None:
    node = Node(ModelKernel(), full_look=1e9)
    node.put(service("a", "203.0.113.10"), endpoint_slice("a", ["198.51.100.1"]))
    await node.turn()
    before = _value(node.metrics, "kubeproxy_sync_proxy_rules_duration_seconds_count")
    await node.turns(3, 2.0)
    assert _value(node.metrics, "kubeproxy_sync_proxy_rules_duration_seconds_count") == before
    node.put(endpoint_slice("a", ["198.51.100.2"]))
    await node.turn(2.0)
    assert _value(node.metrics, "kubeproxy_sync_proxy_rules_duration_seconds_count") == (before or 0) + 1


async def test_a_refused_nft_transaction_counts_as_a_failed_restore() -> None:
    kernel = ModelKernel()
    node = Node(kernel)
    await node.turn()

    def refuse(operation: Operation) -> str | None:
        return "no" if isinstance(operation, ChangeSets) else None

    kernel.refuse = refuse
    node.put(service("a", "203.0.113.10"))
    await node.turn(1.0)
    assert _value(node.metrics, "kubeproxy_sync_proxy_rules_iptables_restore_failures_total") == 1


@pytest.mark.parametrize(
    ("spec", "policies"),
    [
        ({}, set()),
        ({"internalTrafficPolicy": "Local"}, {"internal"}),
        ({"externalTrafficPolicy": "Local"}, set()),
        (
            {"externalTrafficPolicy": "Local", "type": "LoadBalancer", "ingress": ["192.0.2.100"]},
            {"external"},
        ),
        (
            {
                "externalTrafficPolicy": "Local",
                "internalTrafficPolicy": "Local",
                "externalIPs": ["192.0.2.9"],
            },
            {"internal", "external"},
        ),
    ],
)
async def test_services_without_local_endpoints_are_counted_by_policy(
    spec: dict[str, object], policies: set[str]
) -> None:
    node = Node(ModelKernel())
    node.put(service("a", "203.0.113.10", **spec), endpoint_slice("a", [("198.51.100.1", "node2")]))
    await node.turn()
    assert set(node.engine.no_local.get("default/a", ())) == policies
    node.put(endpoint_slice("a", [("198.51.100.1", "node1")]))
    await node.turn(1.0)
    assert node.engine.no_local == {}
    node.put(service("b", "203.0.113.11", **spec))
    await node.turn(1.0)
    assert node.engine.no_local == {}


def test_an_address_of_the_wrong_family_is_named_as_such() -> None:
    made = plan(service("a", "203.0.113.10"), endpoint_slice("a", ["2001:db8::1", "198.51.100.1"]))
    (warning,) = made["warnings"]
    assert "'2001:db8::1' is not of the slice's addressType IPv4" in warning
