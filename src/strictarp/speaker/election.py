"""The order of candidates: who should own an IP that has no owner.

MetalLB's election (speaker/layer2_controller.go: score, then SHA-256 over node + "#" + IP), so a cluster
that changes over keeps its owners; it is used only for IPs without an owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from functools import lru_cache

from strictarp.speaker.view import Candidate

NOBODY: frozenset[str] = frozenset()


def order(
    scores: Mapping[str, int],
    first_ip: str,
    behind: Container[str] = NOBODY,
    drained: Container[str] = NOBODY,
) -> tuple[Candidate, ...]:
    """Candidates, first choice first.

    scores: node → sum of preferred weights. first_ip: the Service's first ingress IP in text, as in its
    status (RFC 5952); all IPs of a Service are ordered by it. behind: nodes put after all others, where
    they keep their order: NotReady, out of service, cordoned. drained: nodes after even these.
    """

    def place(node: str) -> tuple[bool, bool, int, bytes]:
        return (node in drained, node in behind, -scores[node], rank(node, first_ip))

    return tuple([_candidate(node, scores[node], node in drained) for node in sorted(scores, key=place)])


_candidate = lru_cache(maxsize=16_384)(Candidate)
"""One value for a node of all orders: a hundred nodes in the orders of thousands of IPs are many."""


def rank(node: str, ip: str) -> bytes:
    """The lower wins."""
    return hashlib.sha256(f"{node}#{ip}".encode()).digest()
