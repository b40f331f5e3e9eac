"""A look at everything that takes its time: changes go on meanwhile. Thin.

It only tells whether the kernel differs from what we believe; then a look at once, which nothing interrupts,
finds out how, and repairs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from strictarp.proxy.engine import Engine
from strictarp.proxy.nft_listing import parse_listings
from strictarp.proxy.seam import Kernel
from strictarp.proxy.state import Touched

FEW = 200
"""So many virtual servers are looked at at once: that takes some ten milliseconds."""


async def differs(
    kernel: Kernel,
    engine: Engine,
    tables: Callable[[], Awaitable[list[bytes]]],
    rules: tuple[str, ...],
    meanwhile: Touched,
) -> bool:
    """Whether somebody else has changed what is ours.

    `rules`: our tables without elements, as we left them. `meanwhile`: what this process has begun to change
    since, to be filled by the caller before each change: about that nothing can be said this time.

    Raises KernelRefused, BadListing, OSError.
    """
    await kernel.prepare()
    listing = parse_listings(await tables())
    mirror, desired = engine.mirror, engine.desired
    if listing.rules != rules or (listing.elements ^ mirror.elements) - meanwhile.elements:
        return True
    bound = await kernel.addresses()
    strange = (mirror.bound - bound) | ((bound & desired.bound.keys()) - mirror.bound)
    if strange - meanwhile.addresses:
        return True
    servers = {server.key: server for server in await kernel.virtual_servers()}
    for key in {*mirror.servers, *(key for key in servers if desired.exposure(key) is not None)}:
        if key in meanwhile.keys:
            continue
        held = mirror.servers.get(key)
        if held is None or servers.get(key) != held.server:
            return True
        found = await kernel.reals(key)
        weights = {place: state.server.weight for place, state in found.items()}
        if weights != held.reals and key not in meanwhile.keys:
            return True
    return False
