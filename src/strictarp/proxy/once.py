"""What the proxy does once and then ends: clean up after itself, or say what it would do."""

from __future__ import annotations

from collections.abc import Iterator

from strictarp.proxy import host, moves, nftables
from strictarp.proxy.config import Config
from strictarp.proxy.daemon import Proxy
from strictarp.proxy.engine import Engine
from strictarp.proxy.foreign_rules import adjust
from strictarp.proxy.nft_listing import BadListing, parse_listings
from strictarp.proxy.operations import ChangeSets, Operation, describe_operation
from strictarp.proxy.seam import IpvsMissing, Kernel, KernelRefused
from strictarp.proxy.situation import node_facts, situation


async def looked_at(kernel: Kernel, config: Config, name: str) -> Engine:
    """An engine that wants nothing and has taken in the kernel as a first look does. Changes nothing.

    Raises KernelRefused, OSError.
    """
    await kernel.prepare(make=False)
    facts = node_facts(name, await kernel.host_links(), None, host.families(), device=kernel.device)
    engine = Engine(config, situation(config, facts), 0.0)
    tables = [await kernel.list_rules(nftables.FAMILIES[width], nftables.TABLE) for width in facts.families]
    try:
        engine.elements_are(set(parse_listings(tables).elements))
    except BadListing:
        engine.elements_are(set())  # others made a table of our name: it tells nothing
    engine.looked(await kernel.view(), adopt=True)
    return engine


async def clean_up(kernel: Kernel, config: Config, name: str, *, dry_run: bool) -> list[str]:
    """Remove what was programmed: virtual servers, tables and openings of ours, kube-ipvs0.

    What was done, in words. Others' virtual servers, excludeCIDRs and sysctls stay. Raises KernelRefused,
    OSError.
    """
    try:
        engine = await looked_at(kernel, config, name)
        for key in tuple(engine.desired.leaving):
            engine.desired.left(key)  # open connections are no reason to stay here
        removals = engine.steps(engine.everything()).removals
    except IpvsMissing:
        removals = []
    told = list(tell(removals))
    closed = await adjust(kernel, await kernel.chains(), 0, dry_run=dry_run)
    told += [f"take back the opening in nftables chain {name}" for name in closed]
    told += [f"delete nftables tables {nftables.TABLE}", f"delete device {kernel.device}"]
    if dry_run:
        return told
    failed = [reason for reason in await kernel.apply(removals) if reason is not None]
    await kernel.load_rules(nftables.no_table(host.families()) + moves.script({}, host.families()))
    await kernel.remove_device()
    if failed:
        raise KernelRefused("; ".join(failed[:5]))
    return told


async def dry_run(proxy: Proxy, kernel: Kernel, config: Config, name: str) -> list[str]:
    """What a proxy that starts now would do, in words and in order. Reads the API, changes nothing.

    Raises KernelRefused, OSError.
    """
    held = await looked_at(kernel, config, name)
    await proxy.read_everything()
    engine = proxy.engine
    while len(engine.store):
        engine.plan()
    engine.mirror = held.mirror
    return list(tell(engine.steps(engine.everything()).all()))


def tell(operations: list[Operation]) -> Iterator[str]:
    """Operations for people, one line each; elements of sets one by one."""
    for operation in operations:
        if isinstance(operation, ChangeSets):
            for verb, elements in (("add", operation.add), ("delete", operation.remove)):
                for name, element in elements:
                    yield f"{verb} {{ {element} }} {'to' if verb == 'add' else 'from'} set {name}"
        else:
            yield describe_operation(operation)
