"""How far a DaemonSet's rollout is. Pure; the rule is kubectl's (polymorphichelpers/rollout_status.go)."""

from __future__ import annotations

import msgspec

from strictarp.kube.objects import DaemonSet


class Rollout(msgspec.Struct, frozen=True):
    """Whether it is done, and in words how far it is."""

    done: bool
    text: str


def rollout(daemonset: DaemonSet, generation: int = 0) -> Rollout:
    """The rollout of a DaemonSet whose `generation` at least must have been acted upon."""
    status = daemonset.status
    desired, updated, available = (
        status.desired_number_scheduled,
        status.updated_number_scheduled,
        status.number_available,
    )
    if status.observed_generation < max(generation, daemonset.metadata.generation):
        return Rollout(False, "the rollout has not begun yet")
    if updated < desired:
        return Rollout(False, f"{updated} of {desired} proxies are new")
    if available < desired:
        return Rollout(False, f"all {desired} proxies are new, {available} of them available")
    return Rollout(True, f"all {desired} proxies are new and available")
