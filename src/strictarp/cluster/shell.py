"""Carrying out the steps of `steps` on a live cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp
import msgspec

from strictarp.cluster.edit import WHERE, Edit, health_port, set_strictarp
from strictarp.cluster.nodes import Seen, internal_address, judge, wrong_text
from strictarp.cluster.rollout import rollout
from strictarp.cluster.steps import Facts, Progress, Step, after, next_step
from strictarp.errors import UserError
from strictarp.kube.client import Client
from strictarp.kube.errors import ApiError, Conflict, Forbidden, KubeError, NotFound, Unauthorized
from strictarp.kube.objects import CONFIGMAPS, DAEMONSETS, NODES, ConfigMap, DaemonSet, Node

NAMESPACE, NAME, KEY = "kube-system", "kube-proxy", "config.conf"
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
CONFLICTS = 5
POLL = 0.5
PROOF_LIMIT = 15.0
NODE_LIMIT = 3.0
PARALLEL = 16
CANNOT_LOOK = 3

ELSEWHERE = (
    "this cluster does not configure kube-proxy as kubeadm does. k3s and RKE2: kube-proxy-arg in config.yaml "
    "of every node (proxy-mode=ipvs, ipvs-strict-arp=true); Talos: the machine configuration; k0s: "
    "spec.network.kubeProxy; MicroK8s: args/kube-proxy"
)


class StepFailed(Exception):
    """A step did not reach its end; the message says why."""


class View(msgspec.Struct, frozen=True):
    """What a look at the cluster shows."""

    edit: Edit
    facts: Facts
    nodes: tuple[Seen, ...]
    rollout: str


class Switch:
    """Turns strictARP on or off.

    `tell` gets progress, a line at a time; `timeout` bounds each rollout, in seconds.
    """

    def __init__(self, client: Client, *, wanted: bool, timeout: float, tell: Callable[[str], None]) -> None:
        self.nodes: tuple[Seen, ...] = ()
        self._client = client
        self._wanted = wanted
        self._timeout = timeout
        self._tell = tell
        self._edit: Edit | None = None
        self._generation = 0

    async def look(self) -> View:
        """Look at everything and change nothing. Raises UserError for a cluster that cannot be switched."""
        try:
            config = await self._config()
            edit = set_strictarp(_text(config), self._wanted)
            daemonset = await self._daemonset()
            self.nodes = await self._ask_nodes(health_port(edit.before))
        except KubeError as error:
            raise UserError(_cannot_look(error), CANNOT_LOOK) from None
        self._edit = edit
        now = rollout(daemonset)
        disagreement = any(each.verdict == "wrong" for each in self.nodes)
        facts = Facts(self._wanted, edit.changed, rolled_out=now.done, disagreement=disagreement)
        return View(edit, facts, self.nodes, now.text)

    async def carry_out(self, progress: Progress, keep: Callable[[Progress], None]) -> Progress:
        """All steps, the way back included; `keep` gets the progress after each, for who is interrupted."""
        while (step := next_step(progress)) is not None:
            self._tell(f"{step} …")
            failure = None
            try:
                await self._take(step)
            except (StepFailed, KubeError, UserError) as error:
                failure = str(error)
                self._tell(f"  failed: {failure}")
            progress = after(progress, step, failure)
            keep(progress)
        return progress

    async def _take(self, step: Step) -> None:
        match step:
            case Step.EDIT:
                await self._write_config()
            case Step.RESTART | Step.UNDO_RESTART:
                await self._restart()
            case Step.FOLLOW | Step.UNDO_FOLLOW:
                await self._follow()
            case Step.PROVE:
                await self._prove()
            case Step.UNDO_EDIT:
                await self._restore_config()

    # --- the ConfigMap ------------------------------------------------------------------------------------

    async def _config(self) -> ConfigMap:
        try:
            return await self._client.get(CONFIGMAPS, NAME, NAMESPACE)
        except NotFound:
            raise UserError(f"ConfigMap {NAMESPACE}/{NAME}: not found; {ELSEWHERE}") from None

    async def _daemonset(self) -> DaemonSet:
        try:
            return await self._client.get(DAEMONSETS, NAME, NAMESPACE)
        except NotFound:
            raise UserError(
                f"DaemonSet {NAMESPACE}/{NAME}: not found, so nothing would take up the change; {ELSEWHERE}"
            ) from None

    async def _write_config(self) -> None:
        """Edit what is there now; somebody else's edit meanwhile is kept, and edited in turn."""
        for _ in range(CONFLICTS):
            config = await self._config()
            edit = set_strictarp(_text(config), self._wanted)
            if edit.changed:
                self._edit = edit  # before the write: also what may have been written can be put back
            if not edit.changed or await self._put(config, edit.after):
                return
        raise StepFailed(f"{WHERE}: changed by somebody else {CONFLICTS} times; run this again")

    async def _restore_config(self) -> None:
        """Put the old text back; if somebody has edited since, only our value goes back."""
        ours = self._edit
        for _ in range(CONFLICTS):
            config = await self._config()
            text = _text(config)
            if ours is None or text == ours.before:
                return
            back = ours.before if text == ours.after else set_strictarp(text, bool(ours.was)).after
            if text == back or await self._put(config, back):
                return
        raise StepFailed(f"{WHERE}: changed by somebody else {CONFLICTS} times")

    async def _put(self, config: ConfigMap, text: str) -> bool:
        """False if somebody else was faster."""
        version = config.metadata.resource_version
        patch = {"metadata": {"resourceVersion": version}, "data": {KEY: text}}
        try:
            await self._client.merge_patch(CONFIGMAPS, NAME, patch, NAMESPACE)
        except Conflict:
            return False
        return True

    # --- the rollout --------------------------------------------------------------------------------------

    async def _restart(self) -> None:
        # With microseconds: a second restart within a second must be a change of the template too.
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        patch = {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: stamp}}}}}
        answer = await self._client.merge_patch(DAEMONSETS, NAME, patch, NAMESPACE)
        self._generation = answer.metadata.generation

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout
        told = ""
        while True:
            try:
                state = rollout(await self._daemonset(), self._generation)
                done, text = state.done, state.text
            except KubeError as error:  # an API that is away for a moment does not undo a rollout
                done, text = False, str(error)
            if text != told:
                self._tell(f"  {text}")
                told = text
            if done:
                return
            if loop.time() >= end:
                raise StepFailed(f"not finished within {self._timeout:g} s: {text}")
            await asyncio.sleep(POLL)

    # --- the nodes ----------------------------------------------------------------------------------------

    async def _prove(self) -> None:
        """Every node that can be seen must say so, within a short while; slow ones are asked again."""
        assert self._edit is not None  # noqa: S101 - `look` comes first
        port = health_port(self._edit.before)
        loop = asyncio.get_running_loop()
        end = loop.time() + PROOF_LIMIT
        while True:
            self.nodes = await self._ask_nodes(port)
            wrong = wrong_text(self.nodes)
            if not wrong and all(each.reached for each in self.nodes):
                return
            if loop.time() >= end:
                if wrong:
                    raise StepFailed(wrong)
                return  # who does not answer is told as not seen
            await asyncio.sleep(POLL)

    async def _ask_nodes(self, port: int) -> tuple[Seen, ...]:
        nodes = (await self._client.list(NODES)).items
        limit = asyncio.Semaphore(PARALLEL)
        timeout = aiohttp.ClientTimeout(total=NODE_LIMIT)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            seen = await asyncio.gather(*(self._ask(session, limit, node, port) for node in nodes))
        return tuple(sorted(seen, key=lambda each: each.node))

    async def _ask(
        self, session: aiohttp.ClientSession, limit: asyncio.Semaphore, node: Node, port: int
    ) -> Seen:
        name, address = node.metadata.name, internal_address(node)
        if not address:
            return judge(name, "", "it has no InternalIP", wanted=self._wanted)
        host = f"[{address}]" if ":" in address else address
        answer: tuple[int, bytes] | str
        try:
            async with limit, session.get(f"http://{host}:{port}/strictarp") as response:
                answer = (response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told = str(error) or f"no answer within {NODE_LIMIT:g} s"
            answer = f"its proxy does not answer at {host}:{port} ({told})"
        return judge(name, address, answer, wanted=self._wanted)


def _text(config: ConfigMap) -> str:
    text = (config.data or {}).get(KEY)
    if text is None:
        raise UserError(f"ConfigMap {NAMESPACE}/{NAME}: data: there is no key {KEY}; {ELSEWHERE}")
    return text


def _cannot_look(error: KubeError) -> str:
    if isinstance(error, Unauthorized | Forbidden):
        return f"{error}; needed: get and patch configmaps and daemonsets in {NAMESPACE}, list nodes"
    return f"the API does not let us look: {error}" if isinstance(error, ApiError) else str(error)
