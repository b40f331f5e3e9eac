"""`strictarp proxy migrate`: looks, and carries the steps out. Thin; `migrating` decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import aiohttp

from strictarp.errors import UserError
from strictarp.guard import once as guarding
from strictarp.guard.settings import Settings as GuardSettings
from strictarp.netlink.nftables import Chain
from strictarp.proxy import host, kube_chains, leftovers, migrating, moves, nftables
from strictarp.proxy.config import Config
from strictarp.proxy.daemon import Proxy
from strictarp.proxy.fields import Listen
from strictarp.proxy.foreign_rules import adjust
from strictarp.proxy.migrating import Found, Step
from strictarp.proxy.once import clean_up
from strictarp.proxy.seam import Kernel, KernelRefused

_LOOK_SECONDS = 1.0

Tell = Callable[[str], None]


class Migration:
    """One node. `make`: a proxy that programs it, made only when needed. `wait`: seconds for each step.

    `guard`: where the journal of strictARP is.
    """

    def __init__(
        self,
        kernel: Kernel,
        config: Config,
        node: str,
        make: Callable[[], Proxy],
        wait: float,
        *,
        guard: GuardSettings,
    ) -> None:
        self._kernel = kernel
        self._config = config
        self._node = node
        self._make = make
        self._wait = wait
        self._guard = guard

    async def run(self, *, back: bool, dry_run: bool, tell: Tell) -> None:
        """Migrate, and tell each step before it is done. Raises UserError, KernelRefused, OSError."""
        found = await self.look()
        steps = migrating.give_back(found) if back else migrating.takeover(found)
        for note in migrating.notes(found):
            tell(f"note: {note}")
        for step in steps:
            tell(step.value)
            if not dry_run:
                await self._do(step, found, tell)

    async def look(self) -> Found:
        """What is on the node. Raises KernelRefused, OSError."""
        chains = tuple(await self._kernel.chains())
        mode, ours = await _who_answers(self._config.metrics)
        return Found(chains, mode, ours, await leftovers.legacy(), await leftovers.sets())

    async def _do(self, step: Step, found: Found, tell: Tell) -> None:
        match step:
            case Step.PROGRAM:
                await self._program()
            case Step.REMOVE_TABLES:
                tables = kube_chains.own_tables(found.chains)
                await self._kernel.load_rules("".join(f"delete table {table}\n" for table in tables))
            case Step.REMOVE_CHAINS:
                await self._remove_chains(found.chains)
            case Step.REMOVE_LEGACY:
                for each in found.legacy:
                    await leftovers.remove_legacy(each)
            case Step.DESTROY_SETS:
                await self._destroy_sets(found, tell)
            case Step.DRAIN:
                await self._drain()
            case Step.REMOVE_OURS:
                await adjust(self._kernel, await self._kernel.chains(), 0)
                families = host.families()
                nothing_moved = moves.script({}, families)
                await self._kernel.load_rules(nftables.no_table(families) + nothing_moved)
            case Step.CLEAN_UP:
                await clean_up(self._kernel, self._config, self._node, dry_run=False)
            case Step.PUT_BACK:
                await self._put_back(tell)

    async def _destroy_sets(self, found: Found, tell: Tell) -> None:
        for name in await leftovers.destroy_sets(found.sets):
            tell(f"note: ipset {name} stays: a rule of somebody else uses it")

    async def _put_back(self, tell: Tell) -> None:
        released = await guarding.put_back(self._guard)
        for line in (*released.done, *(f"left: {line}" for line in released.left)):
            tell(f"note: {line}")

    async def _program(self) -> None:
        """As the daemon does it, until everything is there."""
        proxy = self._make()
        working = asyncio.create_task(proxy.run())
        settled = asyncio.create_task(proxy.syncer.settled.wait())
        try:
            await asyncio.wait({working, settled}, timeout=self._wait, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            if not settled.done():
                reason = proxy.syncer.failing or proxy.services.trouble or "the API server does not answer"
                raise UserError(f"not everything is programmed after {self._wait:g} s: {reason}")
        finally:
            working.cancel()
            settled.cancel()
            await asyncio.wait({working, settled})

    async def _remove_chains(self, chains: Sequence[Chain]) -> None:
        for family, table in kube_chains.iptables_tables(chains):
            listing = await self._kernel.list_rules(family, table)
            try:
                script = kube_chains.removal(family, table, listing)
            except kube_chains.BadListing as error:
                raise KernelRefused(str(error)) from None
            if script:
                await self._kernel.load_rules(script)

    async def _drain(self) -> None:
        """New connections go elsewhere as soon as we keep none."""
        await self._kernel.load_rules(nftables.keep_nothing(host.families()))
        deadline = asyncio.get_running_loop().time() + self._wait
        await self._kernel.prepare(make=False)
        while asyncio.get_running_loop().time() < deadline:
            seen = await self._kernel.view()
            if not any(real.active for held in seen.servers.values() for real in held.reals.values()):
                return
            await asyncio.sleep(_LOOK_SECONDS)


async def _who_answers(place: Listen) -> tuple[str, bool]:
    """The mode that a kube-proxy tells at its metrics address, and whether it is no kube-proxy but ours."""
    address, port = place
    where = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session:
            async with session.get(f"{where}/proxyMode") as answer:
                mode = (await answer.text()).strip() if answer.status == 200 else ""
            async with session.get(f"{where}/metrics") as answer:
                ours = "strictarp_proxy_" in await answer.text()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return "", False
    return ("", True) if ours else (mode, False)
