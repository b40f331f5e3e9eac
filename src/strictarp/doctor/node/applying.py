"""Runs the DaemonSet of `manifest`, gathers what its pods print, and takes it away again. Thin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from strictarp.doctor.kinds import DAEMONSETS, PODS, ContainerStatus, DaemonSet, Pod
from strictarp.doctor.node.framing import Broken, find
from strictarp.doctor.node.manifest import INSTANCE, RIGHTS
from strictarp.doctor.node.view import NodeView
from strictarp.errors import UserError
from strictarp.kube.client import Client
from strictarp.kube.errors import (
    ApiError,
    Forbidden,
    KubeError,
    NotFound,
    ServerError,
    TooManyRequests,
    Unreachable,
)

POLL = 1.0
TIMEOUT = 120.0
CANNOT_LOOK = 3
DELETE_TRIES = 3
_LAST = 200
_HOPELESS = frozenset(
    (
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    )
)
"""Kubelets' words for what waiting does not mend (pkg/kubelet/images/types.go, kuberuntime)."""
Tell = Callable[[str], None]


class _Gathered(msgspec.Struct):
    """Node → its report, or why there is none (yet)."""

    reports: dict[str, NodeView] = {}
    waiting: dict[str, str] = {}
    given_up: dict[str, str] = {}

    def told(self) -> dict[str, NodeView | str]:
        return {**self.waiting, **self.given_up, **self.reports}


async def collect(
    client: Client, document: Mapping[str, Any], tell: Tell, *, seconds: float = TIMEOUT
) -> Mapping[str, NodeView | str]:
    """Node → its report, or in words why it has none. The DaemonSet is gone afterwards, whatever happens.

    document: of `manifest.document`. tell: gets progress, a line at a time. seconds: how long to wait.

    Raises UserError when it cannot be created, or the pods cannot be listed.
    """
    name, namespace = document["metadata"]["name"], document["metadata"]["namespace"]
    try:
        await client.create(DAEMONSETS, document)
    except KubeError as error:
        raise UserError(_cannot_create(error, namespace), CANNOT_LOOK) from error
    gathered = _Gathered()
    try:
        tell(f"DaemonSet {namespace}/{name} created; waiting for the reports")
        async with asyncio.timeout(seconds):
            await _gather(client, name, namespace, gathered, tell)
    except TimeoutError:
        tell(f"not all nodes have reported within {seconds:g} s")
    except KubeError as error:
        raise UserError(f"reading the reports: {error}", CANNOT_LOOK) from error
    finally:
        await _delete(client, name, namespace, tell)
    return gathered.told()


async def _gather(client: Client, name: str, namespace: str, gathered: _Gathered, tell: Tell) -> None:
    """Look again and again, until every node that gets a pod has reported or cannot."""
    shown = -1
    while True:
        try:
            wanted = await _look(client, name, namespace, gathered)
        except (Unreachable, ServerError, TooManyRequests) as error:
            tell(f"the API does not answer, trying again: {error}")
            await asyncio.sleep(POLL)
            continue
        done = len(gathered.reports) + len(gathered.given_up)
        if done != shown and wanted is not None:
            tell(f"{len(gathered.reports)} of {wanted} nodes have reported")
            shown = done
        if wanted is not None and done >= wanted:
            return
        await asyncio.sleep(POLL)


async def _look(client: Client, name: str, namespace: str, gathered: _Gathered) -> int | None:
    """Look at every pod once; how many nodes get one, as far as that is known."""
    daemonset = await client.get(DAEMONSETS, name, namespace)
    pods = (await client.list(PODS, namespace, label_selector=f"{INSTANCE}={name}")).items
    for pod in pods:
        await _look_at(client, pod, gathered)
    return _wanted(daemonset)


def _wanted(daemonset: DaemonSet) -> int | None:
    """How many nodes get a pod; None as long as nobody has counted."""
    status = daemonset.status
    return status.desired_number_scheduled if status.observed_generation else None


async def _look_at(client: Client, pod: Pod, gathered: _Gathered) -> None:
    node = pod.spec.node_name or ""
    if not node or node in gathered.reports or node in gathered.given_up:
        return
    statuses = pod.status.container_statuses or ()
    reason, why = _obstacle(pod, statuses)
    if reason in _HOPELESS:
        gathered.given_up[node] = why
        return
    gathered.waiting[node] = why
    if not any(each.state.running or each.state.terminated for each in statuses):
        return
    try:
        log = await client.logs(pod.metadata.name, namespace=pod.metadata.namespace)
        report = find(log)
    except Broken as error:
        gathered.given_up[node] = f"its report: {error}"
        return
    except Forbidden:
        raise
    except ApiError as error:
        gathered.waiting[node] = f"its pod's log cannot be had: {error.message}"
        return
    if report is not None:
        # The name that the API knows counts, whatever the pod was told.
        gathered.reports[node] = msgspec.structs.replace(report, node=node)
    elif any(each.state.terminated for each in statuses):
        last = log.strip().splitlines()[-1:]
        gathered.given_up[node] = f"{why}{f'; it said: {last[0][:_LAST]}' if last else ''}"


def _obstacle(pod: Pod, statuses: tuple[ContainerStatus, ...]) -> tuple[str, str]:
    """Why a pod has not reported: the kubelet's word for it, and a sentence."""
    for each in statuses:
        state = each.state.waiting or each.state.terminated
        if state is not None:
            more = f": {state.message}" if state.message else ""
            return state.reason or "", f"its pod is {state.reason or 'waiting'}{more}"
    return "", f"its pod is {pod.status.phase or 'not started'} and has not reported"


async def _delete(client: Client, name: str, namespace: str, tell: Tell) -> None:
    """Take the DaemonSet away; its pods follow. If that fails, say how to."""
    for attempt in range(1, DELETE_TRIES + 1):
        try:
            await client.delete(DAEMONSETS, name, namespace)
        except NotFound:
            return
        except KubeError as error:
            if attempt == DELETE_TRIES:
                tell(
                    f"DaemonSet {namespace}/{name} is still there ({error}): kubectl -n {namespace} delete "
                    f"daemonset {name}"
                )
                return
            await asyncio.sleep(POLL)
        else:
            tell(f"DaemonSet {namespace}/{name} deleted")
            return


def _cannot_create(error: KubeError, namespace: str) -> str:
    if isinstance(error, Forbidden):
        rights = "; ".join(f"{', '.join(verbs)} {resource}" for resource, verbs in RIGHTS.items())
        return (
            f"the DaemonSet may not be created: {error.message}; in namespace {namespace} it takes: {rights}"
        )
    return f"the DaemonSet cannot be created: {error}"
