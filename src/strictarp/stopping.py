"""How our programs end: at SIGTERM or SIGINT, or with the error that their work ended with."""

from __future__ import annotations

import asyncio
import signal
import threading


def stop_at_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set from now on. To be called in the loop of the main thread."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def cancel_at_sigterm() -> None:
    """From now on SIGTERM cancels this task, as Ctrl-C does. Outside the main thread nothing changes."""
    task = asyncio.current_task()
    if task is not None and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def until_stopped(work: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Wait for `stop`. Work that ends before it ends by an error, which is raised."""
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if work.done():
        await work


async def cancelled(work: asyncio.Task[None]) -> None:
    """Cancel a task and see it end."""
    work.cancel()
    await asyncio.wait({work})
