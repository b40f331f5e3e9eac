"""One run of `strictarp enable` or `disable`, from the look to the report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from strictarp.arp.facts import Host
from strictarp.cluster.edit import NotIpvs
from strictarp.cluster.installers import recognise
from strictarp.cluster.looking import read_signs
from strictarp.cluster.outlook import harmful_text
from strictarp.cluster.own_facts import facts_by_node
from strictarp.cluster.report import (
    CANNOT_LOOK,
    NOT_APPLICABLE,
    Report,
    editable,
    finished,
    given_up,
    refused,
    untouched,
    warnings,
)
from strictarp.cluster.shell import Switch, View, Wishes, cannot_look
from strictarp.cluster.steps import Progress, changes_something
from strictarp.errors import UserError
from strictarp.kube.access import Access, find
from strictarp.kube.client import Client
from strictarp.kube.config import ClientConfig
from strictarp.kube.errors import KubeError
from strictarp.kube.objects import NODES


class Order(msgspec.Struct, frozen=True):
    """What the command line asks for.

    timeout: bounds each rollout, in seconds. anyway: edit the ConfigMap where it does not last. facts: name
    of the file → facts of a node. wire, interface: ask for the Service IPs, and where.
    """

    wanted: bool
    access: Access = Access()
    dry_run: bool = False
    timeout: float = 300.0
    anyway: bool = False
    facts: Mapping[str, Host] = {}
    wire: bool = True
    interface: str | None = None


class Ask(msgspec.Struct, frozen=True):
    """What the user is asked before anything is changed. losses: what would be missed, in words."""

    view: View
    warnings: tuple[str, ...]
    losses: str


Tell = Callable[[str], None]
Confirm = Callable[[Ask], bool]


def run(order: Order, *, tell: Tell, confirm: Confirm) -> Report:
    """Look, ask `confirm` if there is something to change, do it. Raises UserError without a way to the API.

    Everything else ends in a report that names the state of the cluster: also Ctrl-C in the middle.
    """
    kept: list[Progress] = []
    client_config = find(order.access)
    try:
        return asyncio.run(_run(order, client_config, tell, confirm, kept))
    except KeyboardInterrupt:
        if not kept:
            raise
        return finished(kept[-1])


async def _run(
    order: Order, client_config: ClientConfig, tell: Tell, confirm: Confirm, kept: list[Progress]
) -> Report:
    async with Client(client_config) as client:
        try:
            signs = await read_signs(client)
            nodes = (await client.list(NODES)).items
        except KubeError as error:
            return given_up(f"cannot look: {cannot_look(error)}", CANNOT_LOOK)
        installer = recognise(signs, wanted=order.wanted)
        if installer.holder is None or not editable(installer, anyway=order.anyway):
            return refused(installer, signs.unread, wanted=order.wanted)
        tell(f"{installer.title} ({'; '.join(installer.signs)}): the proxies read {installer.holder.title}")
        wishes = Wishes(
            order.wanted,
            order.timeout,
            await facts_by_node(order.facts, nodes),
            order.wire,
            order.interface,
        )
        switch = Switch(client, installer.holder, wishes, tell=tell)
        try:
            report = await _carry_out(order, switch, confirm, kept, warnings(installer))
        except NotIpvs as error:
            report = given_up(f"not applicable: {error}", NOT_APPLICABLE)
        except UserError as error:
            report = given_up(str(error), error.exit_code)
        return msgspec.structs.replace(report, installer=installer)


async def _carry_out(
    order: Order, switch: Switch, confirm: Confirm, kept: list[Progress], known: tuple[str, ...]
) -> Report:
    view = await switch.look()
    losses = harmful_text(view.outlook)
    declined = ""
    if not order.dry_run and changes_something(view.facts) and not confirm(Ask(view, known, losses)):
        declined = _declined(losses)
    if order.dry_run or declined:
        report = untouched(
            facts=view.facts, edit=view.edit, nodes=view.nodes, vips=view.vips, declined=declined
        )
    else:
        kept.append(Progress(view.facts))
        progress = await switch.carry_out(kept[0], kept.append)
        report = finished(
            progress,
            diff=view.edit.diff,
            nodes=switch.nodes,
            vips=switch.vips,
            troubles=switch.troubles,
        )
    hints = (*known, *report.hints)
    return msgspec.structs.replace(report, preflight=view.outlook, hints=hints)


def _declined(losses: str) -> str:
    if not losses:
        return "not confirmed; nothing was changed"
    return f"not confirmed, since answers would be missed ({losses}); nothing was changed"
