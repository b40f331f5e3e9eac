"""What the proxy shows of its parts in figures, beside the counters of `metrics`. Thin."""

from __future__ import annotations

from urllib.parse import urlsplit

from strictarp.kube.client import Client
from strictarp.proxy.engine import Engine
from strictarp.proxy.foreign_rules import ForeignRules
from strictarp.proxy.metrics import Metrics
from strictarp.proxy.others import Others
from strictarp.proxy.strictarp import StrictArp


def add(
    metrics: Metrics,
    engine: Engine,
    client: Client,
    *,
    foreign: ForeignRules,
    others: Others,
    strictarp: StrictArp,
) -> None:
    """Let `metrics` read the parts whenever somebody asks."""
    metrics.answers = lambda: client.answers
    metrics.api = urlsplit(client.config.server).netloc
    client.took = metrics.requested
    metrics.labelled["kubeproxy_sync_proxy_rules_no_local_endpoints_total"] = (
        "Services whose traffic policy asks for local endpoints while there are only others",
        "traffic_policy",
        lambda: {
            policy: sum(policy in policies for policies in engine.no_local.values())
            for policy in ("internal", "external")
        },
    )
    metrics.gauges |= {
        "strictarp_proxy_services": ("Services known", lambda: len(engine.store.services)),
        "strictarp_proxy_virtual_servers": ("Virtual servers", lambda: len(engine.mirror.servers)),
        "strictarp_proxy_draining": ("Real servers that drain", lambda: len(engine.drains)),
        "strictarp_proxy_forward_dropping": (
            "Foreign chains that drop forwarded packets by policy",
            lambda: len(foreign.dropping),
        ),
        "strictarp_proxy_moved_ips": (
            "IPs of which unknown connections are passed to their previous node",
            others.moved,
        ),
        "strictarp_proxy_dead_nodes": ("Nodes given up", lambda: len(engine.facts.dead)),
        "strictarp_proxy_strictarp_in_force": (
            "1: strictARP is in force on every uplink",
            strictarp.in_force,
        ),
        "strictarp_proxy_strictarp_drifts": (
            "Changes of strictARP's sysctls or table that were undone",
            strictarp.drifts,
        ),
    }
