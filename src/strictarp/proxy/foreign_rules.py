"""Watches others' nftables: chains that drop our answers, a kube-proxy, our own table gone. Thin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from strictarp.netlink.nftables import FAMILIES, Chain
from strictarp.proxy import barriers
from strictarp.proxy.nftables import TABLE
from strictarp.proxy.seam import Kernel, KernelRefused

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
SLOW_LOOK_SECONDS = 60.0
"""Events tell at once; a look now and then is for those that were lost."""


class ForeignRules:
    """`mark`: what openings accept, 0 to have none. `families`: nft's names of those with a table of ours.

    `tell`: called once for each chain that drops, with the advice. `on_loss`: our own table is gone.
    """

    def __init__(
        self,
        kernel: Kernel,
        families: Sequence[str],
        mark: int,
        *,
        tell: Callable[[str], None],
        on_loss: Callable[[], None],
    ) -> None:
        self.kube_proxy = ""
        self.dropping: frozenset[Chain] = frozenset()
        self._kernel = kernel
        self._families = families
        self.mark = mark
        self._tell = tell
        self._on_loss = on_loss
        self._failing = ""

    async def run(self) -> None:
        """Follow changes until cancelled."""
        changes = self._kernel.rule_changes()
        while True:
            try:
                await self.look()
                self._failing = ""
            except (KernelRefused, OSError) as refused:
                if str(refused) != self._failing:
                    log.warning("others' rules not seen", extra={"fields": {"reason": str(refused)}})
                self._failing = str(refused)
            await asyncio.sleep(PAUSE_SECONDS)  # whoever writes rules seldom writes only one
            try:
                async with asyncio.timeout(SLOW_LOOK_SECONDS):
                    await anext(changes)
            except TimeoutError:
                changes = self._kernel.rule_changes()

    async def look(self) -> None:
        """Look now, tell what is new, and open or close. Raises KernelRefused, OSError."""
        chains = await self._kernel.chains()
        self.kube_proxy = barriers.kube_proxy_traces(chains)
        here = {FAMILIES.get(chain.family) for chain in chains if chain.table == TABLE}
        if not here.issuperset(self._families):
            self._on_loss()
        drops = barriers.dropping(chains)
        if not self.mark:
            for chain in drops:
                if chain not in self.dropping:
                    self._tell(barriers.advice(chain))
        self.dropping = frozenset(drops)
        for chain_name in await adjust(self._kernel, chains, self.mark):
            log.info("opening in a chain of others changed", extra={"fields": {"chain": chain_name}})


async def adjust(kernel: Kernel, chains: Sequence[Chain], mark: int, *, dry_run: bool = False) -> list[str]:
    """Have an opening in each chain that drops by policy, and none elsewhere; with mark 0 nowhere.

    Which chains were changed. Raises KernelRefused, OSError.
    """
    changed = []
    for chain in barriers.forwarding(chains):
        script = barriers.adjustment(chain, await kernel.chain_rules(chain), mark)
        if script:
            changed.append(barriers.name(chain))
            if not dry_run:
                await kernel.load_rules(script)
    return changed
