"""A process that kills itself, for tests of what it leaves: SIGKILL after so many messages and scripts."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence

from strictarp.netlink.messages import Refusal
from strictarp.netlink.socket import Netlink
from strictarp.proxy import nft_apply


def dies_after(count: int, work: Callable[[], object], *, armed: bool) -> Callable[[], object]:
    """`work`, in a process that dies in the middle of it. armed: counting begins at once, else with SIGUSR1.

    For a forked child: what it replaces stays replaced. It dies between two messages of a batch, and with a
    script that nft is just carrying out.
    """
    left = count if armed else -1

    def arm(*_: object) -> None:
        nonlocal left
        left = count

    request, run_script = Netlink.request, nft_apply.run_script

    async def dying_request(self: Netlink, messages: Sequence[bytes]) -> list[Refusal | None]:
        nonlocal left
        if 0 <= left < len(messages):
            await request(self, messages[:left])
            os.kill(os.getpid(), signal.SIGKILL)
        if left >= 0:
            left -= len(messages)
        return await request(self, messages)

    async def dying_script(text: str) -> None:
        nonlocal left
        if left == 0:
            nft = asyncio.create_task(run_script(text))
            await asyncio.wait({nft}, timeout=0.01 * (count % 10))
            os.kill(os.getpid(), signal.SIGKILL)
        if left > 0:
            left -= 1
        await run_script(text)

    def in_child() -> object:
        signal.signal(signal.SIGUSR1, arm)
        Netlink.request = dying_request  # type: ignore[method-assign]
        nft_apply.run_script = dying_script
        return work()

    return in_child
