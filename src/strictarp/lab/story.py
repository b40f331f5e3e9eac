"""The story that gives this project its name: the fault, the cure, a failover, a return; each measured."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from strictarp.cluster.report import Report as Enabled
from strictarp.doctor.check import Severity
from strictarp.doctor.diagnosis import Diagnosis
from strictarp.errors import UserError
from strictarp.kube.errors import KubeError
from strictarp.kube.objects import EVENTS, SERVICES
from strictarp.lab import figures, layout, manifests, measuring, stream
from strictarp.lab.cluster import Cluster
from strictarp.lab.figures import Seen
from strictarp.lab.measuring import Measuring
from strictarp.lab.report import After, Answerer, Before, Failover, Report, Requests, Step

ANNOUNCED = "nodeAssigned"
READY_LIMIT = 60.0
DELAY_MS, JITTER_MS = 3.0, 2.5
RESOLUTIONS = 12
RESOLUTION_WAIT_MS = 150
SETTLE = 0.5
CURE_REQUESTS = 300
CURE_INTERVAL_MS, CURE_LIMIT_MS = 20, 5000
BEFORE_FAILURE = 3.0
AFTER_FAILURE = 6.0
WATCH_RETURN = 8.0
EVEN_SHARE = 0.5
STRICTARP_IS_OFF = "SA101"

Progress = Callable[[str], None]
OnStep = Callable[[Step], None]
Outcome = tuple[str, bool]


class Story:
    """One telling. Each step fills in its part of the report and returns what was seen and if it is well."""

    def __init__(self, cluster: Cluster, progress: Progress) -> None:
        self.cluster = cluster
        self.progress = progress
        self.vip = ""
        self.owner = ""
        self.before = Before()
        self.after = After()
        self.doctored: tuple[int, list[str]] = (-1, [])
        self.requests = Requests()
        self.failover = Failover()
        self.pace = measuring.pace(cluster)
        self.nodes = cluster.network.nodes
        self.node_of_mac = {node.mac: node.name for node in self.nodes.values()}

    # --- tools ------------------------------------------------------------

    async def _until(self, what: str, check: Callable[[], Awaitable[bool]]) -> None:
        """Wait until `check` holds. Raises UserError after a limit."""
        end = time.monotonic() + READY_LIMIT
        while not await check():
            if time.monotonic() > end:
                raise UserError(f"{what}: not within {READY_LIMIT:.0f} s")
            await asyncio.sleep(0.25)

    async def _probe(self) -> tuple[Answerer, ...]:
        """Ask for the VIP on the wire, from the client, with our own tool."""
        macs = await measuring.probe(self.cluster, self.vip)
        return tuple(Answerer(self.node_of_mac.get(mac, ""), mac) for mac in macs)

    async def _start_witness(self, name: str) -> Measuring:
        return await measuring.start_witness(self.cluster, self.vip, name, interval_ms=self.pace.ask)

    async def _start_stream(self, name: str, *, count: int, interval_ms: int, limit_ms: int) -> Measuring:
        return await measuring.start_stream(
            self.cluster, self.vip, name, count=count, interval_ms=interval_ms, limit_ms=limit_ms
        )

    async def _speak_as_vip(self) -> tuple[set[str], set[str]]:
        """Let every node send as the VIP; returns who asked with it as ARP sender, and who asked at all."""
        witness = await self._start_witness("senders")
        for name in self.nodes:
            code, _, err = await self.cluster.run(
                name, "strictarp", "lab", "speak-as", "--source", self.vip, "--target", layout.UNUSED_ADDRESS
            )
            if code != 0:
                raise UserError(f"{name} cannot send as {self.vip}: {err.strip()}")
        await asyncio.sleep(SETTLE)
        frames = (await measuring.finish_witness(self.cluster, witness)).frames
        asked = {frame.host for frame in frames if frame.op == 1 and frame.target == layout.UNUSED_ADDRESS}
        return figures.vip_as_sender(frames, self.vip, layout.UNUSED_ADDRESS), asked

    # --- the steps ------------------------------------------------------------

    async def apply(self) -> Outcome:
        """Pool, advertisement, Service, backends; on hosts whose sysctls are told first."""
        for name in (layout.CLIENT, *self.nodes):
            shown = self.cluster.network.shown_sysctls(name)
            self.progress(f"{name}: " + " ".join(f"{key}={value}" for key, value in shown.items()))
        await self.cluster.apply(manifests.story(self.nodes.values()))

        async def assigned() -> bool:
            try:
                service = await self.cluster.client.get(SERVICES, manifests.WEB, "default")
            except KubeError:
                return False
            ingress = service.status.load_balancer.ingress
            self.vip = (ingress[0].ip or "") if ingress else ""
            return bool(self.vip)

        async def programmed() -> bool:
            return all(measuring.programmed(self.cluster, self.vip, name) for name in self.nodes)

        await self._until("an address for Service default/web", assigned)
        self.progress(f"Service default/web got {self.vip}")
        await self._until(f"{self.vip} in the IPVS table of every node", programmed)
        return f"{self.vip}, in IPVS on {len(self.nodes)} nodes with {len(self.nodes)} backends each", True

    async def fault_answers(self) -> Outcome:
        """Without strictARP every kernel answers."""
        found = await self._probe()
        self.before = msgspec.structs.replace(self.before, answerers=found)
        return _answerers_text(found), len({each.mac for each in found}) == len(self.nodes)

    async def fault_flaps(self) -> Outcome:
        """Links of different speed: the client's entry changes from one resolution to the next."""
        for name in self.nodes:
            self.cluster.network.set_delay(name, delay_ms=DELAY_MS, jitter_ms=JITTER_MS)
        argv = ("--address", self.vip, "--times", str(RESOLUTIONS), "--wait-ms", str(RESOLUTION_WAIT_MS))
        code, out, err = await self.cluster.run(layout.CLIENT, "strictarp", "lab", "resolve", *argv)
        if code != 0:
            raise UserError(f"the client cannot resolve {self.vip}: {err.strip()}")
        macs = msgspec.json.decode(out, type=list[str])
        distinct = len(set(macs))
        self.before = msgspec.structs.replace(self.before, distinct_macs_seen_by_client=distinct)
        return f"{distinct} MACs in {len(macs)} resolutions", distinct > 1

    async def fault_sender(self) -> Outcome:
        """Without strictARP a node's own requests carry the VIP as sender. The doctor looks meanwhile."""
        (senders, asked), self.doctored = await asyncio.gather(self._speak_as_vip(), self._doctor())
        self.before = msgspec.structs.replace(self.before, vip_as_sender_seen=bool(senders))
        return f"{len(senders)} of {len(asked)} nodes asked as {self.vip}", bool(senders)

    async def fault_doctor(self) -> Outcome:
        """`strictarp doctor` names the cause alone: what the wire shows follows from it."""
        code, errors = self.doctored
        return f"exit {code}; errors: {_codes_text(errors)}", (code, errors) == (2, [STRICTARP_IS_OFF])

    async def cure_doctor(self) -> Outcome:
        """`strictarp doctor` finds no error any more."""
        code, errors = self.doctored
        return f"exit {code}; errors: {_codes_text(errors)}", code in {0, 1}

    async def _doctor(self) -> tuple[int, list[str]]:
        """Exit code of `strictarp doctor`, with API and wire, and the codes of its errors."""
        options = ("--kubeconfig", str(self.cluster.kubeconfig), "--wire", "--json")
        code, out, err = await self.cluster.run(layout.CLIENT, "strictarp", "doctor", *options)
        if not out:
            raise UserError(f"doctor could not look: {err.strip()}")
        found = msgspec.json.decode(out, type=Diagnosis).findings
        return code, sorted({each.code for each in found if each.severity is Severity.ERROR})

    async def enable(self) -> Outcome:
        """`strictarp enable`, as a user runs it, from where it can ask on the wire."""
        return await self._switch("enable", ("1", "2"), before=len(self.nodes), after=1)

    async def disable(self) -> Outcome:
        """`strictarp disable`: the sysctls are as they were, and so are the answers."""
        return await self._switch("disable", ("0", "0"), before=1, after=len(self.nodes))

    async def _switch(self, command: str, sysctls: tuple[str, str], *, before: int, after: int) -> Outcome:
        options = ("--kubeconfig", str(self.cluster.kubeconfig), "--yes", "--json")
        code, out, err = await self.cluster.run(layout.CLIENT, "strictarp", command, *options)
        shown = [self.cluster.network.shown_sysctls(name) for name in self.nodes]
        right = sum((each["arp_ignore"], each["arp_announce"]) == sysctls for each in shown)
        answered, now = _answered(out, self.vip)
        names = f"arp_ignore={sysctls[0]} arp_announce={sysctls[1]}"
        seen = f"exit {code}; {names} on {right} nodes; {answered} answered, now {now}"
        if code != 0:
            last = err.strip().splitlines()[-1:] or [""]
            seen += f"; {last[0]}"
        return seen, (code, right, answered, now) == (0, len(self.nodes), before, after)

    async def cure_answers(self) -> Outcome:
        """One MAC answers, and it is that of the node whose speaker says that it owns the IP."""

        async def one() -> bool:
            return len(await self._probe()) == 1

        await self._until("a single answer", one)
        found = await self._probe()
        self.after = msgspec.structs.replace(self.after, answerers=found)
        self.owner = found[0].node if found else ""
        elected = await self._elected()
        return f"{_answerers_text(found)}; elected {elected}", len(found) == 1 and self.owner == elected

    async def _elected(self) -> str:
        """The node that the speakers' last event names as announcing the Service, or nothing."""
        try:
            listing = await self.cluster.client.list(EVENTS, "default")
        except KubeError:
            return ""
        told = [
            event
            for event in listing.items
            if event.reason == ANNOUNCED and event.involved_object.name == manifests.WEB
        ]
        last = max(told, key=lambda event: event.last_timestamp or "", default=None)
        return last.source.host if last else ""

    async def cure_sender(self) -> Outcome:
        """With strictARP no node's request carries the VIP as sender."""
        senders, asked = await self._speak_as_vip()
        self.after = msgspec.structs.replace(self.after, vip_as_sender_seen=bool(senders))
        seen = f"{len(senders)} of {len(asked)} nodes asked as {self.vip}"
        return seen, not senders and len(asked) == len(self.nodes)

    async def cure_requests(self) -> Outcome:
        """All requests are answered, by all backends."""
        process, out = await self._start_stream(
            "cure", count=CURE_REQUESTS, interval_ms=CURE_INTERVAL_MS, limit_ms=CURE_LIMIT_MS
        )
        code = await process.ended
        answers = stream.read(out) if code == 0 else []
        spread = figures.per_backend(answers)
        good = sum(spread.values())
        self.requests = Requests(sent=len(answers), ok=good, per_backend=spread)
        fair = CURE_REQUESTS / len(self.nodes) * EVEN_SHARE
        even = len(spread) == len(self.nodes) and min(spread.values()) >= fair
        shares = ", ".join(f"{name} {count}" for name, count in spread.items())
        return f"{good} of {len(answers)}: {shares}", good == len(answers) == CURE_REQUESTS and even

    async def power_off(self) -> Outcome:
        """The owner is switched off under a stream of requests."""
        witness = await self._start_witness("failover")
        requests = await self._start_stream(
            "failover", count=0, interval_ms=self.pace.stream, limit_ms=self.pace.limit
        )
        await asyncio.sleep(BEFORE_FAILURE)
        self.progress(f"switching {self.owner} off")
        moment = time.monotonic()
        await self.cluster.power_off(self.owner)
        await asyncio.sleep(AFTER_FAILURE)
        answers = await measuring.finish_stream(self.cluster, requests)
        frames = (await measuring.finish_witness(self.cluster, witness)).frames
        return self._judge_failover(answers, frames, moment)

    def _judge_failover(
        self, answers: Sequence[stream.Answer], frames: Sequence[Seen], moment: float
    ) -> Outcome:
        outage = figures.outage_ms(answers)
        most = figures.max_simultaneous(frames, self.vip)
        new = figures.takeover(frames, self.vip, self.nodes[self.owner].mac, moment)
        lost = figures.lost_after(answers, new.at) if new else None
        recovered = any(answer.ok and answer.started > moment for answer in answers[-10:])
        self.failover = Failover(
            outage_ms=round(outage, 1) if outage != float("inf") else None,
            max_simultaneous_answerers=most,
            lost_to_dead_backend=lost,
            new_owner=new.host if new else None,
        )
        text = f"{outage:.0f} ms; {new.host if new else 'nobody'} took over; {most} answered; {lost} lost to "
        well = new is not None and recovered and most == 1 and outage <= self.limit_ms
        return text + "the dead backend", well

    @property
    def limit_ms(self) -> float:
        """How long the outage may be: 1.5 s in the virtual machine, 1 s in namespaces."""
        return 1500 if self.cluster.settings.isolation == "vm" else 1000

    async def power_on(self) -> Outcome:
        """The node comes back; nothing moves, nobody else answers. The doctor looks meanwhile."""
        witness = await self._start_witness("return")
        self.progress(f"switching {self.owner} on again")
        await self.cluster.power_on(self.owner)

        async def back() -> bool:
            return measuring.programmed(self.cluster, self.vip, self.owner)

        await self._until(f"{self.owner} programmed again", back)
        _, self.doctored = await asyncio.gather(asyncio.sleep(WATCH_RETURN), self._doctor())
        frames = (await measuring.finish_witness(self.cluster, witness)).frames
        answered = figures.answerers(frames, self.vip)
        macs = {mac for each in answered.values() for mac in each}
        names = sorted(self.node_of_mac.get(mac, mac) for mac in macs)
        spoke = {self.node_of_mac.get(frame.mac, frame.mac) for frame in frames if frame.sender == self.vip}
        seen = f"{len(answered)} requests, answered by {', '.join(names) or 'nobody'}"
        return seen, names == [self.failover.new_owner] and spoke == {self.failover.new_owner}


def _answerers_text(found: Sequence[Answerer]) -> str:
    return f"{len(found)}: " + (", ".join(each.node or each.mac for each in found) or "nobody")


def _codes_text(codes: Sequence[str]) -> str:
    return ", ".join(codes) or "none"


def _answered(report: str, vip: str) -> tuple[int, int]:
    """How many hosts answered for the VIP before and after, by a report of `enable`."""
    if not report:
        return 0, 0
    seen = next((each for each in msgspec.json.decode(report, type=Enabled).vips if each.ip == vip), None)
    return (len(seen.before or ()), len(seen.after or ())) if seen else (0, 0)


STEPS: tuple[tuple[str, str, Callable[[Story], Awaitable[Outcome]]], ...] = (
    ("apply", "an address, in IPVS on every node", Story.apply),
    ("fault: who answers", "every node", Story.fault_answers),
    ("fault: client's entry", "changes between resolutions", Story.fault_flaps),
    ("fault: ARP sender", "nodes ask as the VIP", Story.fault_sender),
    ("fault: doctor", "the cause alone: strictARP is off", Story.fault_doctor),
    ("strictarp enable", "exit 0, sysctls set, one answers", Story.enable),
    ("cure: who answers", "one, the elected", Story.cure_answers),
    ("cure: ARP sender", "no node asks as the VIP", Story.cure_sender),
    ("cure: requests", "300 answered, by all backends", Story.cure_requests),
    ("owner off", "one takes over, one answerer, in time", Story.power_off),
    ("owner back", "nothing moves, nobody else answers", Story.power_on),
    ("cure: doctor", "no error", Story.cure_doctor),
    ("strictarp disable", "exit 0, sysctls as before, all answer", Story.disable),
)


async def play(cluster: Cluster, progress: Progress, on_step: OnStep) -> Report:
    """Tell the whole story on a fresh cluster. A step that cannot be done ends it; the report says why."""
    began = time.monotonic()
    story = Story(cluster, progress)
    steps: list[Step] = []
    for name, expected, tell in STEPS:
        progress(name)
        start = time.monotonic()
        try:
            observed, ok = await tell(story)
            over = False
        except UserError as error:
            observed, ok, over = str(error), False, True
        steps.append(Step(name, expected, observed, ok, round(time.monotonic() - start, 1)))
        on_step(steps[-1])
        if over:
            break
    return Report(
        ok=len(steps) == len(STEPS) and all(step.ok for step in steps),
        kernel=os.uname().release,
        isolation=cluster.settings.isolation,
        seconds=round(time.monotonic() - began, 1),
        settings={"nodes": len(story.nodes), **msgspec.to_builtins(cluster.settings.timing)},
        steps=tuple(steps),
        before=story.before,
        after=story.after,
        requests=story.requests,
        failover=story.failover,
    )
