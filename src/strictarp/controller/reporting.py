"""What people have to know about the configuration: Events on pools, and MetalLB's ConfigurationState."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from strictarp.kube.client import Client
from strictarp.kube.custom import (
    CONFIGURATIONSTATES,
    ConfigurationState,
    ConfigurationStateStatus,
    IPAddressPool,
)
from strictarp.kube.errors import KubeError, NotFound
from strictarp.kube.events import emit
from strictarp.kube.model import Condition

log = logging.getLogger(__name__)

COMPONENT = "strictarp-controller"
NAME = "controller"
LABELS = {"metallb.io/component-type": "controller"}
POOLS, ADVERTISEMENTS = "poolReconcilerValid", "configReconcilerValid"
"""MetalLB's conditions: of its controller, and of its speakers, which read the advertisements."""
RETRY = 10.0
MOST_ERRORS, LONGEST_ERROR = 50, 600
"""Less than 32,768 characters in all (metav1.Condition)."""


def state_of(
    before: ConfigurationStateStatus, errors: Mapping[str, tuple[str, ...]], now: str
) -> ConfigurationStateStatus:
    """MetalLB's summary (api/v1beta1 ConfigurationState). errors: by condition. `now` is RFC 3339.

    The time in it is that of the last change; MetalLB stamps it anew on every look.
    """
    known = {each.type: each for each in before.conditions or ()}
    conditions = {each: _condition(known.get(each), each, wrong, now) for each, wrong in errors.items()}
    summary = _lines([each for wrong in errors.values() for each in wrong])
    return ConfigurationStateStatus(
        "Invalid" if summary else "Valid", summary, tuple((known | conditions).values())
    )


def _condition(old: Condition | None, kind: str, errors: tuple[str, ...], now: str) -> Condition:
    status, reason = ("False", "ConfigurationError") if errors else ("True", "Reconciled")
    since = old.last_transition_time if old is not None and old.status == status else None
    return Condition(kind, status, None, reason, _lines(errors), since or now)


def _lines(errors: Sequence[str]) -> str:
    """One line each; of many the first, cut: the API refuses a condition whose message is too long."""
    more = [f"and {len(errors) - MOST_ERRORS} more"] if len(errors) > MOST_ERRORS else []
    return "\n".join([*(each[:LONGEST_ERROR] for each in errors[:MOST_ERRORS]), *more])


class Reporting:
    """Tells each thing once in a term. `overlaps` are (name of a pool, sentence)."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        pools: Mapping[str, IPAddressPool],
        may_write: Callable[[], bool],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._pools = pools
        self._may_write = may_write
        self._wake = asyncio.Event()
        self._overlaps: tuple[tuple[str, str], ...] = ()
        self._told: set[tuple[str, str]] = set()
        self._errors: dict[str, tuple[str, ...]] | None = None
        self._written: dict[str, tuple[str, ...]] | None = None
        self._has_kind = True

    def tell(
        self,
        pools: tuple[str, ...],
        advertisements: tuple[str, ...],
        overlaps: tuple[tuple[str, str], ...],
    ) -> None:
        """This is how it is now: what is wrong with pools and advertisements, and what overlaps."""
        for each in sorted(set(overlaps) - set(self._overlaps)):
            log.warning("IPAddressPool %s: spec.addresses: %s", *each)
        self._errors, self._overlaps = {POOLS: pools, ADVERTISEMENTS: advertisements}, overlaps
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._tell_overlaps()
                await self._write_state()
            except KubeError as error:
                log.warning("ConfigurationState not written", extra={"fields": {"error": str(error)}})
                await asyncio.sleep(RETRY)
                self._wake.set()

    async def _tell_overlaps(self) -> None:
        self._told &= set(self._overlaps)  # one that went and comes again is news
        for name, sentence in self._overlaps:
            pool = self._pools.get(f"{self._namespace}/{name}")
            if pool is None or (name, sentence) in self._told or not self._may_write():
                continue
            self._told.add((name, sentence))
            message = f"spec.addresses: {sentence}"
            await emit(
                self._client,
                about=pool,
                reason="Overlap",
                message=message,
                type="Warning",
                component=COMPONENT,
            )

    async def _write_state(self) -> None:
        if self._errors is None or self._errors == self._written or not self._has_kind:
            return
        if not self._may_write():
            return
        errors = self._errors
        try:
            have = await self._get_or_create()
        except NotFound:
            self._has_kind = False
            log.info("no ConfigurationState is kept: its CustomResourceDefinition is not installed")
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        wanted = state_of(have.status, errors, now)
        if wanted != have.status:
            patch = {"status": msgspec.to_builtins(wanted)}
            await self._client.merge_patch(
                CONFIGURATIONSTATES, NAME, patch, self._namespace, subresource="status"
            )
        self._written = errors

    async def _get_or_create(self) -> ConfigurationState:
        try:
            return await self._client.get(CONFIGURATIONSTATES, NAME, self._namespace)
        except NotFound:
            body = {"metadata": {"name": NAME, "labels": LABELS}}
            return await self._client.create(CONFIGURATIONSTATES, body, self._namespace)
