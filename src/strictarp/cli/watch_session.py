"""One run of `strictarp watch`: the watcher, and everything that it tells, together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import click
import msgspec

from strictarp.arp import probing
from strictarp.arp.probing import Form, Verdict
from strictarp.cli.wire_options import Where
from strictarp.errors import EX_USAGE, UserError
from strictarp.kube.access import Access
from strictarp.kube.errors import KubeError
from strictarp.wire.asking import probe_many
from strictarp.wire.cluster_reading import view_cluster
from strictarp.wire.cluster_view import ClusterView
from strictarp.wire.culprits import Evidence, evidence
from strictarp.wire.naming import GivenFacts, internal_ips
from strictarp.wire.page import page
from strictarp.wire.timeline import Timeline
from strictarp.wire.vantage import CannotLook, look_here
from strictarp.wire.watch_text import HEADING, STATES, Context, blame_lines, event, line, row, summary
from strictarp.wire.watched import Change, Limits
from strictarp.wire.watching import Clock, Watcher

REFRESH = 60.0
"""Seconds between looks at the API, and between writes of the page."""
_NAMES_EVERY = 5
"""The nodes' own addresses are asked for at every so many looks."""
_WAIT = 1.2
_RECENT = 8
"""Lines of events below the live table."""
_ORDER = (Verdict.SEVERAL, Verdict.NOBODY, Verdict.UNKNOWN, Verdict.ONE)
_COLOURS = {"one": "green", "SEVERAL": "bold red", "SILENT": "yellow"}


class Order(msgspec.Struct, frozen=True):
    """What is wanted."""

    where: Where
    facts: GivenFacts
    view: ClusterView
    ips: tuple[IPv4Address, ...]
    interval: float
    form: Form
    seconds: float | None
    as_json: bool
    prometheus: tuple[str | None, int] | None
    page: Path | None


def iso(at: float) -> str:
    """RFC 3339 with milliseconds, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock_time(at: float) -> str:
    """Local time of day with milliseconds."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S.%f")[:-3]


def tick_time(at: float) -> str:
    """Local time of day to the second."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def local_time(at: float) -> str:
    """Local date and time of day with milliseconds."""
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", timespec="milliseconds")


class Session:
    """Runs until its time is over, Ctrl-C or SIGTERM."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._clock = Clock()
        self._began = self._clock.now()
        wait = min(_WAIT, order.interval * 0.8)
        self._timeline = Timeline(Limits(interval=order.interval, wait=wait))
        self._watcher = Watcher(
            self._timeline, order.where.interface, order.form, clock=self._clock, on_changes=self._on_changes
        )
        self._view = order.view
        self._evidence = Evidence()
        self._live = sys.stdout.isatty() and not order.as_json
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """The exit code. Raises CannotLook, UserError."""
        self._check_page()
        await self._learn_names()
        self._began = self._clock.now()
        self._timeline.follow(self._order.ips, self._began)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_signals(self._stop))
            await stack.enter_async_context(_beside(self._refresh()))
            if self._order.prometheus:
                serving = _beside(self._serve(*self._order.prometheus), failed=self._stop.set)
                await stack.enter_async_context(serving)
            if self._order.seconds is not None:
                asyncio.get_running_loop().call_later(self._order.seconds, self._stop.set)
            if self._live:
                await stack.enter_async_context(_beside(self._show()))
            await self._watcher.run(self._stop)
        self._on_changes(self._timeline.expire(self._clock.now()))
        self._write_page()
        if not self._order.as_json:
            self._write("\n".join(summary(self._timeline.watched.values(), self._context())))
        return probing.exit_code(self._timeline.verdicts())

    def _context(self) -> Context:
        return Context(self._evidence, self._view.vips, self._watcher.interfaces)

    # --- what is told -------------------------------------------------------------------------------------

    def _on_changes(self, changes: list[Change]) -> None:
        for change in changes:
            context = self._context()
            if self._order.as_json:
                told = event(change, self._timeline, context, iso)
                self._write(msgspec.json.encode(told).decode())
            else:
                told = event(change, self._timeline, context, clock_time)
                lines = (line(told, context), *blame_lines(told))
                if self._live:
                    self._recent.extend(lines)
                else:
                    self._write("\n".join(lines))

    def _write(self, text: str) -> None:
        """A reader that has gone, as `| head` does, ends the watch."""
        try:
            click.echo(text)
        except BrokenPipeError:
            self._stop.set()

    async def _show(self) -> None:
        """The live table and the latest events, twice a second."""
        from rich.console import Group
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text

        def picture() -> Group:
            context, now = self._context(), self._clock.now()
            made = Table(*HEADING, box=None, pad_edge=False)
            # A screen may not hold all of them: what is wrong stands first.
            for each in sorted(self._timeline.watched.values(), key=lambda each: _ORDER.index(each.verdict)):
                cells = [Text(cell) for cell in row(each, context, now, clock_time)]
                cells[2].stylize(_COLOURS.get(STATES[each.verdict], "dim"))
                made.add_row(*cells)
            return Group(made, Text("\n".join(self._recent), style="dim"))

        with Live(picture(), auto_refresh=False) as live:
            try:
                while True:
                    await asyncio.sleep(0.5)
                    live.update(picture(), refresh=True)
            finally:
                live.update(picture(), refresh=True)

    async def _serve(self, host: str | None, port: int) -> None:
        from prometheus_client import CollectorRegistry

        from strictarp import serving
        from strictarp.wire.watch_metrics import Figures

        registry = CollectorRegistry()
        registry.register(Figures(self._timeline, self._context, self._watcher.lost))
        made = serving.application({"/metrics": serving.exposition(registry)})
        try:
            await serving.serve(made, host, port, "metrics", hard_fail=True)
        except OSError as error:
            named = f"{host or ''}:{port}"
            raise UserError(
                f"--prometheus {named}: {error.strerror}; choose another port", probing.EXIT_CANNOT_LOOK
            ) from error

    # --- the page -----------------------------------------------------------------------------------------

    def _check_page(self) -> None:
        """Raises UserError now rather than at the end."""
        target = self._order.page
        if target is None or (target.exists() and not target.is_file()):  # opening a pipe would wait
            return
        try:
            target.open("a", encoding="utf-8").close()
        except OSError as error:
            raise UserError(
                f"--html {target}: {error.strerror}; name a file that can be written", EX_USAGE
            ) from error

    def _write_page(self) -> None:
        """Raises UserError."""
        target = self._order.page
        if target is None:
            return
        now = self._clock.now()
        text = page(
            self._timeline, self._context(), began=self._began, now=now, stamp=local_time, tick=tick_time
        )
        try:
            _write_whole(target, text)
        except OSError as error:
            raise UserError(
                f"--html {target}: {error.strerror}; name a file that can be written", EX_USAGE
            ) from error

    # --- names --------------------------------------------------------------------------------------------

    async def _refresh(self) -> None:
        """Each minute: the page, the Services and who announces; now and then the nodes' MACs."""
        looks = 0
        while True:
            await asyncio.sleep(REFRESH)
            looks += 1
            self._write_page()
            order = self._order
            if order.where.access is None and order.where.ips:
                continue
            try:
                self._view = await view_cluster(order.where.access or Access())
                found = [each for each in self._view.vips if isinstance(each, IPv4Address)]
                self._evidence = msgspec.structs.replace(
                    self._evidence, announcers=self._view.announcers, vips=frozenset(self._view.vips)
                )
                if not order.where.ips and found:
                    await self._watcher.follow(found)
                if looks % _NAMES_EVERY == 0:
                    await self._learn_names()
            except (KubeError, UserError, CannotLook) as error:
                click.echo(f"warning: the cluster could not be looked at again: {error}", err=True)

    async def _learn_names(self) -> None:
        """Who has which MAC: the nodes' InternalIPs are asked for. Raises CannotLook."""
        nodes = self._view.nodes
        asked = internal_ips(nodes)
        answered = await probe_many(asked, self._order.where.interface) if asked else ()
        self._evidence = evidence(
            nodes=nodes,
            answered=answered,
            facts=self._order.facts,
            vips=self._view.vips,
            announcers=self._view.announcers,
            here=await look_here(),
        )


def _write_whole(target: Path, text: str) -> None:
    """Whole or not at all, since it may be looked at meanwhile; what is no plain file is written to.

    Raises OSError.
    """
    place = target.resolve()  # behind a symbolic link
    if place.exists() and not place.is_file():
        place.write_text(text, encoding="utf-8")
        return
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(place)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


@contextlib.asynccontextmanager
async def _beside(
    work: Coroutine[None, None, None], *, failed: Callable[[], None] | None = None
) -> AsyncIterator[None]:
    """Runs beside the block and is cancelled at its end; its own failure is raised there.

    failed: called when it fails, to end the block.
    """
    task = asyncio.ensure_future(work)
    if failed is not None:
        task.add_done_callback(lambda _: failed())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the watch, and the page is still written."""
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError, RuntimeError):  # not the main thread: it gets no signals
            loop.add_signal_handler(number, stop.set)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
