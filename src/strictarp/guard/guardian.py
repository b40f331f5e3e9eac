"""The guard at work: looks once a second and at every event, and asserts what `plan` says. Thin.

The kernel notifies nobody of arp_ignore and arp_announce (devinet_conf_proc sends RTM_NEWNETCONF for other
keys only), so `all` and the uplinks are read once a second, through files that stay open: two system calls an
interface. Links and addresses are followed by events.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable

import msgspec

from strictarp.arp.switching import Scope
from strictarp.errors import UserError
from strictarp.guard import journal as journals
from strictarp.guard.drifts import Drift
from strictarp.guard.journal import Journal
from strictarp.guard.keeping import Store, origin
from strictarp.guard.keys import ALL, Key, Seen, Write
from strictarp.guard.looking import TROUBLES
from strictarp.guard.picture import Picture, uplinks_in
from strictarp.guard.plan import by_numbers, guarded, release, writes
from strictarp.guard.settings import Settings
from strictarp.guard.sysctls import Sysctls
from strictarp.guard.table import TableKeeper
from strictarp.guard.watching import Watcher
from strictarp.sysctl.effective import Verdict
from strictarp.sysctl.files import Missing

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds between looks: what somebody changes holds for no longer, and a little."""


class Guardian:
    """One guard of the namespace that the calling thread is in.

    on_drift is called for every change that was undone, and may add who did it. The attributes are for
    reports; `trouble` says why the last turn failed, empty if it did not; `turned` when the last one ended
    well, by the monotonic clock. `notes` are lines about the start.
    """

    def __init__(self, settings: Settings, on_drift: Callable[[Drift], Drift]) -> None:
        self.settings = settings
        self.uplinks: tuple[str, ...] = ()
        self.verdicts: dict[str, Verdict] = {}
        self.drifts: dict[str, int] = {}
        self.last_drift: Drift | None = None
        self.trouble = ""
        self.turned = 0.0
        self.node_addresses: frozenset[int] = frozenset()
        self.journal: Journal
        self.notes: list[str] = []
        self._watcher = Watcher()
        self.keeper = TableKeeper(settings.table)
        self.sysctls = Sysctls()
        self._on_drift = on_drift
        self._store = Store(settings.state, settings.owner)
        self._turning = asyncio.Lock()
        self._chosen_from: tuple[Picture | None, frozenset[int]] = (None, frozenset())
        self._asserted: frozenset[Key] = frozenset()

    @property
    def picture(self) -> Picture:
        """Links and addresses as known now."""
        return self._watcher.picture

    def close(self) -> None:
        """Let go of everything; what was written stays."""
        self._watcher.close()
        self.sysctls.close()
        self._store.unlock()

    async def start(self) -> None:
        """Take up the journal and assert for the first time. Raises UserError; nothing is half done then."""
        self._store.lock()
        self.journal, void = journals.opened(self._store.load(), origin(), str(self._store.path))
        if void:
            self.notes.append("the journal was of an earlier boot, which forgot those values; begun anew")
        try:
            self._watcher.open()
            await self._turn(first=True)
            await self._drop_surplus()
        except TROUBLES as error:
            raise UserError(f"strictARP cannot be guarded: {error}") from None

    async def run(self) -> None:
        """Keep asserting until cancelled. After `start`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watcher.run())
            while True:
                trouble = ""
                try:
                    async with self._turning:
                        await self._turn()
                except (*TROUBLES, UserError) as error:
                    trouble = "; ".join(str(error).splitlines())
                if trouble and trouble != self.trouble:
                    log.error("strictARP cannot be asserted", extra={"fields": {"reason": trouble}})
                self.trouble = trouble
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD):
                        await self._watcher.wake.wait()
                self._watcher.wake.clear()

    async def expect(self, vips: Iterable[int]) -> None:
        """Service IPs that will be bound on kube-ipvs0 in a moment: silenced before. Raises NftRefused."""
        if self.settings.scope is Scope.VIPS:
            self.keeper.expect(vips)
            async with self._turning:
                await self.keeper.follow(self.picture, self.uplinks)

    async def _turn(self, *, first: bool = False) -> None:
        await self._watcher.look(self.uplinks)
        self._choose()
        if self.settings.scope is Scope.VIPS:
            await self._assert_table(first=first)
        else:
            await self._assert_values(first=first)
        for name in self.settings.uplinks:
            self.verdicts.setdefault(name, Verdict(False, "there is no such interface (yet)"))
        self.turned = time.monotonic()

    def _choose(self) -> None:
        """The uplinks, worked out anew when something changed that they follow from."""
        if self._chosen_from[0] is self.picture and self._chosen_from[1] == self.node_addresses:
            return
        self.uplinks = uplinks_in(
            self.picture,
            named=self.settings.uplinks,
            known={*self.uplinks, *self.journal.uplinks},
            others=self.node_addresses,
        )
        self._chosen_from = self.picture, self.node_addresses

    def _remembered(self) -> tuple[str, ...]:
        """Uplinks for the journal: an interface that is away for a moment is still one."""
        if self.settings.uplinks:
            return self.settings.uplinks
        return tuple(sorted({*self.uplinks, *self.journal.uplinks}))

    async def _assert_values(self, *, first: bool) -> None:
        scope = self.settings.scope
        indexes = self.picture.indexes
        seen = self.sysctls.read({indexes[name]: name for name in self.uplinks})
        wanted = writes(scope, seen, self.uplinks)
        keys = guarded(scope, seen, self.uplinks)
        noted = journals.noted(self.journal, seen, keys, wanted)
        await self._note(msgspec.structs.replace(noted, scope=scope.value, uplinks=self._remembered()))
        self._judge(seen)
        done = [write for write in wanted if self._write(write, seen)]
        values = {**seen.values, **{write.key: write.value for write in done}}
        self._judge(Seen(seen.interfaces, values))
        drifted = [write for write in done if write.key in self._asserted and not first]
        self._asserted = keys & values.keys()
        for write in drifted:
            self._drifted(seen.dotted(write.key), str(write.before), str(write.value))
        if first and done:
            self.notes.append(f"set: {seen.told(done)}")

    def _judge(self, seen: Seen) -> None:
        names = self.uplinks or ((ALL,) if self.settings.scope is Scope.ALL else ())
        self.verdicts = {name: by_numbers(seen, name) for name in names}

    def _write(self, write: Write, seen: Seen) -> bool:
        try:
            self.sysctls.write(write, seen)
        except Missing:  # the device went since it was read
            self._watcher.look_soon()
            return False
        return True

    async def _note(self, journal: Journal) -> None:
        """On the disk before anything is done; in a thread, for a disk may be slow."""
        if journal == self.journal:
            return
        storing = asyncio.ensure_future(asyncio.to_thread(self._store.store, journal))
        try:
            await asyncio.shield(storing)
        except asyncio.CancelledError:
            await storing  # a late thread would bring back a journal that was released meanwhile
            raise
        self.journal = journal

    async def _drop_surplus(self) -> None:
        """Put back what an earlier run guarded and this one does not: another scope, other uplinks."""
        scope = self.settings.scope
        names = {index: name for name, index in self.picture.indexes.items()}
        entries = self.journal.entries
        seen = self.sysctls.read({each.index: names[each.index] for each in entries if each.index in names})
        plan = release(self.journal, seen, keep=guarded(scope, seen, self.uplinks))
        done = [write for write in plan.writes if self._write(write, seen)]
        if scope is not Scope.VIPS and self.journal.table:
            await self.keeper.remove()
            self.notes.append(f"nftables table arp {self.journal.table} of an earlier scope deleted")
        if done:
            self.notes.append(f"put back, for it is guarded no longer: {seen.told(done)}")
        self.notes += [f"left: {each.entry.sysctl}: {each.reason}" for each in plan.left if not each.gone]
        table = self.journal.table if scope is Scope.VIPS else ""
        await self._note(msgspec.structs.replace(journals.without(self.journal, plan.keys), table=table))

    async def _assert_table(self, *, first: bool) -> None:
        named = {"table": self.keeper.name, "scope": Scope.VIPS.value, "uplinks": self._remembered()}
        await self._note(msgspec.structs.replace(self.journal, **named))
        touched = not first and await self.keeper.touched()
        await self.keeper.follow(self.picture, self.uplinks)
        if touched:
            self._drifted(f"nftables table arp {self.keeper.name}", "changed or deleted", "loaded anew")
        self.verdicts = {name: self.keeper.verdict(name) for name in self.uplinks}

    def _drifted(self, what: str, was: str, again: str) -> None:
        self.drifts[what] = self.drifts.get(what, 0) + 1
        self.last_drift = self._on_drift(Drift(what, was, again, time.time()))
