"""What is done once and then ends: put back, and tell. Thin."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strictarp.arp.switching import Scope
from strictarp.errors import UserError
from strictarp.guard import checking
from strictarp.guard.journal import Journal, opened
from strictarp.guard.keeping import Store, origin
from strictarp.guard.keys import ALL
from strictarp.guard.looking import TROUBLES
from strictarp.guard.plan import release
from strictarp.guard.report import Report, report
from strictarp.guard.settings import Settings
from strictarp.guard.sysctls import Sysctls
from strictarp.guard.table import TableKeeper
from strictarp.netlink import look
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink

_MOST = 64
"""Service IPs that the model is asked about: a look at thousands of them takes as many seconds."""


class Released(msgspec.Struct, frozen=True):
    """In words: what was put back, and which values were not, and why. known: there was a journal."""

    known: bool
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


async def put_back(settings: Settings) -> Released:
    """Restore what the journal found, then delete it. Raises UserError; the journal stays in that case."""
    store = Store(settings.state, settings.owner)
    stored = store.load()
    if stored is None:
        return Released(known=False)
    store.lock()
    try:
        journal, void = opened(store.load(), origin(), str(store.path))
        done, left = (["a reboot forgot what was written"], []) if void else await _undo(journal)
        store.remove()
    except TROUBLES as error:
        raise UserError(f"cannot put everything back: {error}; the journal {store.path} stays") from None
    finally:
        store.unlock()
    return Released(True, tuple(done), tuple(left))


async def _undo(journal: Journal) -> tuple[list[str], list[str]]:
    sysctls = Sysctls()
    try:
        names = await _names()
        wanted = {entry.index: names[entry.index] for entry in journal.entries if entry.index in names}
        seen = sysctls.read(wanted)
        plan = release(journal, seen)
        done: list[str] = []
        for write in plan.writes:
            sysctls.write(write, seen)
            done.append(seen.told([write]))
    finally:
        sysctls.close()
    if journal.table:
        await TableKeeper(journal.table).remove()
        done.append(f"nftables table arp {journal.table} deleted")
    told = [(left, f"{left.entry.sysctl}: {left.reason}") for left in plan.left]
    done += [line for each, line in told if each.gone]
    return done, [line for each, line in told if not each.gone]


async def _names() -> dict[int, str]:
    async with Netlink(NETLINK_ROUTE) as route:
        return {link.index: link.name for link in await look.links(route)}


async def status(settings: Settings) -> Report | None:
    """What the journal says and the model thinks of it now; None without a journal. Changes nothing.

    Raises UserError.
    """
    store = Store(settings.state, settings.owner)
    journal = store.load()
    if journal is None:
        return None
    journal, _ = opened(journal, origin(), str(store.path))
    try:
        everywhere = (ALL,) if journal.scope == Scope.ALL.value else ()
        names = settings.uplinks or journal.uplinks or everywhere
        verdicts = await checking.judged(names, _tables(journal), most=_MOST)
    except TROUBLES as error:
        raise UserError(f"cannot read this node: {error}") from None
    return report(
        journal.scope or Scope.ALL.value,
        verdicts,
        process=store.holder() or 0,
        journal=str(store.path),
        journalled=_journalled(journal),
    )


def _tables(journal: Journal) -> tuple[str, ...]:
    return (journal.table,) if journal.table else ()


def _journalled(journal: Journal) -> Mapping[str, int]:
    return {entry.sysctl: entry.found for entry in journal.entries if entry.written is not None}
