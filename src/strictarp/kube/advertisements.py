"""What is wrong with L2Advertisements. Pure.

The rules are MetalLB's (internal/config/config.go), and its definition's bounds of a weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from strictarp.kube.custom import L2Advertisement, L2AdvertisementSpec
from strictarp.kube.selectors import canonical, fault

MAX_WEIGHT = 100


def faults(advertisements: Iterable[L2Advertisement]) -> Iterator[str]:
    """What is wrong with them, as `L2Advertisement NAME: FIELD: …`: what cannot be meant, and what MetalLB
    refuses. Such a selector selects nothing.
    """
    for source in advertisements:
        for wrong in wrongs(source.spec):
            yield f"L2Advertisement {source.metadata.name}: spec.{wrong}"


def wrongs(spec: L2AdvertisementSpec) -> Iterator[str]:
    """The same of one, as `FIELD: …`."""
    pools = spec.ip_address_pools or ()
    for name in sorted({each for each in pools if pools.count(each) > 1}):
        yield f"ipAddressPools: {name!r} is listed twice; list it once"
    for field, listed in (
        ("ipAddressPoolSelectors", spec.ip_address_pool_selectors or ()),
        ("nodeSelectors", spec.node_selectors or ()),
        ("serviceSelectors", spec.service_selectors or ()),
    ):
        for index, selector in enumerate(listed):
            if (wrong := fault(selector)) is not None:
                yield f"{field}[{index}]: {wrong}"
            if canonical(selector) in map(canonical, listed[:index]):
                yield f"{field}[{index}]: the same selector is listed twice; list it once"
    for index, each in enumerate(spec.preferred_node_selectors or ()):
        if (wrong := fault(each.preference)) is not None:
            yield f"preferredNodeSelectors[{index}].preference: {wrong}"
        if not 1 <= each.weight <= MAX_WEIGHT:
            yield f"preferredNodeSelectors[{index}].weight: {each.weight} is not between 1 and {MAX_WEIGHT}"
