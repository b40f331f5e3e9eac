"""Carrying out the steps of `steps` on a live cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from strictarp.arp.facts import Host
from strictarp.cluster import wireside
from strictarp.cluster.configmap import Place, TooManyConflicts
from strictarp.cluster.edit import Edit, health_port
from strictarp.cluster.nodes import Seen, restored, wrong_text
from strictarp.cluster.onwire import Heard, VipSeen, compare, ips, summary, wrong
from strictarp.cluster.onwire import wrong_text as vips_text
from strictarp.cluster.outlook import Outlook, outlooks
from strictarp.cluster.proxies import ask_nodes
from strictarp.cluster.rollout import rollout
from strictarp.cluster.signs import Holder
from strictarp.cluster.steps import Facts, Progress, Step, after, next_step
from strictarp.cluster.wireside import Segment
from strictarp.errors import UserError
from strictarp.kube.client import Client
from strictarp.kube.errors import ApiError, Forbidden, KubeError, NotFound, Unauthorized
from strictarp.kube.objects import DAEMONSETS, NODES, DaemonSet

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
POLL = 0.5
PROOF_LIMIT = 15.0
WIRE_LIMIT = 15.0
CANNOT_LOOK = 3


class StepFailed(Exception):
    """A step did not reach its end; the message says why."""


class View(msgspec.Struct, frozen=True):
    """What a look at the cluster shows. vips: who answers now."""

    edit: Edit
    facts: Facts
    nodes: tuple[Seen, ...]
    rollout: str
    outlook: tuple[Outlook, ...] = ()
    vips: tuple[VipSeen, ...] = ()


class Wishes(msgspec.Struct, frozen=True):
    """How to go about it.

    timeout: bounds each rollout, in seconds. facts: node → where its facts are from, and the facts. wire:
    ask there. interface: where, None for that of the route to each IP.
    """

    wanted: bool
    timeout: float = 300.0
    facts: Mapping[str, tuple[str, Host]] = {}
    wire: bool = True
    interface: str | None = None


class Switch:
    """Turns strictARP on or off where `holder` says. `tell` gets progress, a line at a time."""

    def __init__(
        self, client: Client, holder: Holder, wishes: Wishes, *, tell: Callable[[str], None]
    ) -> None:
        self.nodes: tuple[Seen, ...] = ()
        self.vips: tuple[VipSeen, ...] = ()
        self.troubles: tuple[str, ...] = ()
        """What did not go as it should without being a failure."""
        self._client = client
        self._holder = holder
        self._wishes = wishes
        self._tell = tell
        self._place = Place(client, holder, wanted=wishes.wanted)
        self._port = 0
        self._generation = 0
        self._nodes_before: tuple[Seen, ...] = ()
        self._segment = Segment()
        self._heard_before: dict[str, Heard] = {}

    async def look(self) -> View:
        """Look at everything and change nothing. Raises UserError for a cluster that cannot be switched."""
        try:
            edit = await self._place.look()
            self._port = health_port(edit.before, self._holder)
            daemonset = await self._daemonset()
            self.nodes = self._nodes_before = await self._ask_nodes()
            await self._listen()
        except KubeError as error:
            raise UserError(f"cannot look: {cannot_look(error)}", CANNOT_LOOK) from None
        now = rollout(daemonset)
        status = daemonset.status
        if status.observed_generation and not status.desired_number_scheduled:
            self.troubles += (
                f"DaemonSet {daemonset.key} wants no pods, so no proxy takes the change up; is another proxy "
                "in its place?",
            )
        facts = Facts(
            self._wishes.wanted,
            edit.changed,
            rolled_out=now.done,
            disagreement=self._disagreement(),
            vips=bool(self._segment.addresses),
            holder=self._holder,
        )
        outlook = outlooks(self.nodes, self._wishes.facts) if self._wishes.wanted else ()
        return View(edit, facts, self.nodes, now.text, outlook, self.vips)

    def _disagreement(self) -> bool:
        """Some proxy runs otherwise: it says so, or it does not tell and the wire does."""
        if any(each.verdict == "wrong" for each in self.nodes):
            return True
        hidden = any(each.verdict == "unseen" for each in self.nodes)
        return self._wishes.wanted and hidden and any(each.outcome == "several" for each in self.vips)

    async def carry_out(self, progress: Progress, keep: Callable[[Progress], None]) -> Progress:
        """All steps, the way back included; `keep` gets the progress after each, for who is interrupted."""
        while (step := next_step(progress)) is not None:
            self._tell(f"{step} …")
            failure = None
            try:
                await self._take(step)
            except (StepFailed, TooManyConflicts, KubeError, UserError) as error:
                failure = str(error)
                self._tell(f"  failed: {failure}")
            progress = after(progress, step, failure)
            keep(progress)
        return progress

    async def _take(self, step: Step) -> None:
        match step:
            case Step.EDIT:
                await self._place.write()
            case Step.RESTART | Step.UNDO_RESTART:
                await self._restart()
            case Step.FOLLOW | Step.UNDO_FOLLOW:
                await self._follow()
            case Step.PROVE:
                await self._prove()
            case Step.ANNOUNCE:
                await self._announce()
            case Step.WIRE:
                await self._ask_wire()
            case Step.UNDO_EDIT:
                await self._place.restore()
            case Step.UNDO_LOOK:
                await self._look_again()

    # --- the rollout --------------------------------------------------------------------------------------

    async def _daemonset(self) -> DaemonSet:
        name, namespace = self._holder.daemonset, self._holder.namespace
        try:
            return await self._client.get(DAEMONSETS, name, namespace)
        except NotFound:
            raise UserError(
                f"DaemonSet {namespace}/{name}: not found, so nothing would take up the change"
            ) from None

    async def _restart(self) -> None:
        # With microseconds: a second restart within a second must be a change of the template too.
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        patch = {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: stamp}}}}}
        name, namespace = self._holder.daemonset, self._holder.namespace
        answer = await self._client.merge_patch(DAEMONSETS, name, patch, namespace)
        self._generation = answer.metadata.generation

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        limit = self._wishes.timeout
        end = loop.time() + limit
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
                raise StepFailed(f"not finished within {limit:g} s: {text}")
            await asyncio.sleep(POLL)

    # --- the nodes ----------------------------------------------------------------------------------------

    async def _prove(self) -> None:
        """Every node that can be seen must say so, within a short while; slow ones are asked again."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PROOF_LIMIT
        while True:
            self.nodes = await self._ask_nodes()
            bad = wrong_text(self.nodes)
            if not bad and all(each.reached for each in self.nodes):
                return
            if loop.time() >= end:
                if bad:
                    raise StepFailed(bad)
                return  # who does not answer is told as not seen
            await asyncio.sleep(POLL)

    async def _ask_nodes(self) -> tuple[Seen, ...]:
        nodes = (await self._client.list(NODES)).items
        return await ask_nodes(nodes, self._port, wanted=self._wishes.wanted)

    async def _look_again(self) -> None:
        """After the way back: are the sysctls as they were, and who answers?

        A proxy with a journal may take a moment.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + PROOF_LIMIT
        while True:
            self.nodes = restored(self._nodes_before, await self._ask_nodes())
            waiting = [each for each in self.nodes if each.restored is False or not each.reached]
            if not waiting or loop.time() >= end:
                break
            await asyncio.sleep(POLL)
        if self._heard_before:
            self.vips = compare(self._segment.vips, self._heard_before, await wireside.ask(self._segment))

    # --- the wire -----------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Who answers before anything is changed."""
        if not self._wishes.wire:
            return
        hosts = {node: host for node, (_, host) in self._wishes.facts.items()}
        try:
            self._segment = await wireside.segment(self._client, hosts, self._wishes.interface)
        except Forbidden as error:
            self.troubles += (f"the wire was not asked: {error}; needed: list services",)
            return
        if self._segment.addresses:
            self._tell(f"asking on the wire for {ips(len(self._segment.addresses))} …")
            self._heard_before = await wireside.ask(self._segment)
            self.vips = compare(self._segment.vips, self._heard_before, {})

    async def _announce(self) -> None:
        """No failure of it is one of strictARP: stale entries turn by themselves, only later."""
        services = sorted({each for named in self._segment.vips.values() for each in named})
        failed = await wireside.announce_again(self._client, services)
        if failed:
            self.troubles += (
                f"{len(failed)} of {len(services)} Services were not announced again, so neighbour entries "
                f"may stay wrong for a minute: {failed[0]}",
            )

    async def _ask_wire(self) -> None:
        """One host must answer for each IP, within a short while. Off, it is only told who answers."""
        now = await wireside.ask(self._segment)
        loop = asyncio.get_running_loop()
        end = loop.time() + WIRE_LIMIT
        while True:
            self.vips = compare(self._segment.vips, self._heard_before, now)
            bad = wrong(self.vips) if self._wishes.wanted else ()
            if not bad:
                break
            if loop.time() >= end:
                raise StepFailed(vips_text(self.vips))
            now |= await wireside.ask(self._segment, [each.ip for each in bad])
        if told := summary(self.vips):
            self._tell(f"  {told}")


def cannot_look(error: KubeError) -> str:
    """Why the API does not let us look, and what is needed."""
    if isinstance(error, Unauthorized | Forbidden):
        return f"{error}; needed: get and patch configmaps and daemonsets in kube-system, list nodes"
    return f"the API does not let us look: {error}" if isinstance(error, ApiError) else str(error)
