"""Words that checks have in common: subjects of findings, and lists that stay short. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from strictarp.doctor.check import Sighting
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.evidence import Evidence

SHOWN = 4
"""How many items of a list are named."""
PROXY = "service proxy"
"""Subject of what concerns all proxies of the cluster."""
WHOLE = "cluster"


def node(name: str) -> str:
    """Subject: a node."""
    return f"node {name}"


def service(key: str) -> str:
    """Subject: a Service."""
    return f"Service {key}"


def vip(address: object) -> str:
    """Subject: an address of Services."""
    return f"VIP {address}"


def pool(name: str) -> str:
    """Subject: an IPAddressPool."""
    return f"IPAddressPool {name}"


def some(items: Iterable[str], shown: int = SHOWN) -> str:
    """`a, b, c, d and 3 more`."""
    listed: Sequence[str] = tuple(items)
    rest = len(listed) - shown
    return ", ".join(listed[:shown]) + (f" and {rest} more" if rest > 0 else "")


def on_cluster(look: Callable[[ClusterView], Iterable[Sighting]]) -> Callable[[Evidence], Iterable[Sighting]]:
    """The `look` of a check that needs the cluster alone."""

    def looked(evidence: Evidence) -> Iterable[Sighting]:
        return look(evidence.cluster) if evidence.cluster is not None else ()

    return looked
