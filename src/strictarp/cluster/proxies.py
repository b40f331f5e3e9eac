"""Asking the nodes' proxies what they say about strictARP. Thin."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp

from strictarp.cluster.nodes import Seen, internal_address, judge
from strictarp.kube.objects import Node

NODE_LIMIT = 3.0
PARALLEL = 16


async def ask_nodes(nodes: Sequence[Node], port: int, *, wanted: bool) -> tuple[Seen, ...]:
    """Every node, in the order of names."""
    limit = asyncio.Semaphore(PARALLEL)
    timeout = aiohttp.ClientTimeout(total=NODE_LIMIT)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        seen = await asyncio.gather(*(_ask(session, limit, node, port, wanted=wanted) for node in nodes))
    return tuple(sorted(seen, key=lambda each: each.node))


async def _ask(
    session: aiohttp.ClientSession, limit: asyncio.Semaphore, node: Node, port: int, *, wanted: bool
) -> Seen:
    name, address = node.metadata.name, internal_address(node)
    if not address:
        return judge(name, "", "it has no InternalIP", wanted=wanted)
    host = f"[{address}]" if ":" in address else address
    answer: tuple[int, bytes] | str
    try:
        async with limit, session.get(f"http://{host}:{port}/strictarp") as response:
            answer = (response.status, await response.read())
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        told = str(error) or f"no answer within {NODE_LIMIT:g} s"
        answer = f"its proxy does not answer at {host}:{port} ({told})"
    return judge(name, address, answer, wanted=wanted)
