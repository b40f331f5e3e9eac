"""`strictarp lab`: a cluster on this machine, and the scenarios that prove what strictarp promises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strictarp.cli.output import json_option, write_json
from strictarp.errors import UserError

if TYPE_CHECKING:
    from strictarp.lab.host import Launch
    from strictarp.lab.remote import Remote

F = Callable[..., Any]


@click.group()
def command() -> None:
    """A bare-metal cluster on this machine: nodes, client, API server, daemons.

    \b
    Example:
      strictarp lab demo                     the whole story, measured
      strictarp lab up && strictarp lab status
      strictarp lab exec client -- strictarp probe 192.0.2.100 -i eth0
      strictarp lab down

    Exit status: 0 well, 1 an expectation failed or the lab says no, 64 usage; `exec` gives that of its
    command.
    """


def _isolation(function: F) -> F:
    return click.option(
        "--isolation",
        type=click.Choice(["auto", "netns", "vm"]),
        default="auto",
        show_default=True,
        help="Namespaces of the running kernel, or a virtual machine with a stock kernel.",
    )(function)


def _intervals(function: F) -> F:
    for flag, text in (
        ("--late-ms", "How late a claim's end may be noticed."),
        ("--claim-ms", "How long a claim asks the wire."),
        ("--hello-ms", "Interval of the speakers' hellos."),
    ):
        function = click.option(flag, type=click.IntRange(1, 60_000), default=None, help=text)(function)
    return function


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Progress on standard error: a spinner on a terminal, lines elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("starting") as status:
            yield status.update
    else:
        yield lambda text: console.print(f"[dim]… {text}[/dim]", highlight=False)


def _start(
    *,
    ephemeral: bool,
    isolation: str,
    nodes: int,
    proxy: str,
    intervals: dict[str, int | None],
    progress: Callable[[str], None],
) -> tuple[Launch, Remote]:
    """Start a lab and wait until it runs; what was started is ended when that fails."""
    import msgspec

    from strictarp.lab import host
    from strictarp.lab.cluster import Settings, Timing

    chosen, why = host.choose_isolation(isolation, proxy)
    progress(f"isolation: {chosen} ({why})")
    timing = host.VM_TIMING if chosen == "vm" else Timing()
    given = {name: value for name, value in intervals.items() if value is not None}
    settings = Settings(
        nodes=nodes, proxy=proxy, isolation=chosen, timing=msgspec.structs.replace(timing, **given)
    )
    launch = host.start(settings, ephemeral=ephemeral, progress=progress)
    try:
        remote = host.connect(launch)
        host.wait_running(launch, remote, progress)
    except BaseException:
        host.stop(launch)
        raise
    return launch, remote


@command.command()
@_isolation
@_intervals
@click.option("--keep", is_flag=True, help="Leave the lab's folder with its logs behind.")
@json_option
def demo(isolation: str, keep: bool, json_target: str | None, **intervals: int | None) -> int:
    """Show the fault, the cure and a failover, with measured figures.

    \b
    Example:
      strictarp lab demo --json figures.json

    Exit status 0 only if every expectation held.
    """
    import time

    import msgspec

    from strictarp.cli import lab_table
    from strictarp.lab import host
    from strictarp.lab.report import Report

    began = time.monotonic()
    result: object = None
    with _progress() as progress:
        launch, remote = _start(
            ephemeral=True,
            isolation=isolation,
            nodes=3,
            proxy="strictarp",
            intervals=intervals,
            progress=progress,
        )
        failed = True
        try:
            for reply in remote.call("demo"):
                if reply.progress:
                    progress(reply.progress)
                if reply.event is not None:
                    progress(lab_table.step_line(reply.event))
                result = reply.result
            failed = not (isinstance(result, dict) and result.get("ok"))
        finally:
            remote.close()
            host.stop(launch)
            if not (keep or failed):
                host.clean_up()
    report = msgspec.convert(result, Report)
    report = msgspec.structs.replace(report, seconds=round(time.monotonic() - began, 1))
    if json_target != "-":
        lab_table.print_report(report)
    if json_target is not None:
        write_json(json_target, report)
    if failed:
        click.echo(f"not every expectation held; the logs are in {host.state_folder()}/logs", err=True)
    return 0 if report.ok else 1


@command.command()
@_isolation
@_intervals
@click.option("--nodes", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option(
    "--proxy",
    type=click.Choice(["strictarp", "none"]),
    default="strictarp",
    show_default=True,
    help="none: VIPs on a stand-in device and an HTTP server on each node; runs on any kernel.",
)
def up(isolation: str, nodes: int, proxy: str, **intervals: int | None) -> None:
    """Start a cluster to play with.

    \b
    Example:
      strictarp lab up --proxy none --nodes 5
    """
    with _progress() as progress:
        _, remote = _start(
            ephemeral=False,
            isolation=isolation,
            nodes=nodes,
            proxy=proxy,
            intervals=intervals,
            progress=progress,
        )
        remote.close()
    click.echo("the lab is running; see `strictarp lab status`", err=True)


@contextmanager
def _connected() -> Iterator[Remote]:
    from strictarp.lab import host

    remote = host.connect(host.require(), limit=10)
    try:
        yield remote
    finally:
        remote.close()


@command.command()
@json_option
def status(json_target: str | None) -> None:
    """What runs: hosts with their sysctls, processes.

    \b
    Example:
      strictarp lab status --json
    """
    with _connected() as remote:
        found = remote.status(limit=30)
    if json_target is not None:
        write_json(json_target, found)
        return
    from strictarp.cli import lab_table

    lab_table.print_status(found)


@command.command(name="exec", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(host: str, argv: tuple[str, ...]) -> int:
    """Run a command on a host: client, node1 …, pod-node1 …, wire, control-plane.

    \b
    Example:
      strictarp lab exec node1 -- ip neigh
    """
    from strictarp.lab import channel

    code: object = 1
    with _connected() as remote:
        for reply in remote.call("exec", host=host, argv=list(argv)):
            for text, stream in ((reply.out, sys.stdout), (reply.err, sys.stderr)):
                if text:
                    stream.buffer.write(channel.unpack(text))
                    stream.buffer.flush()
            if reply.done:
                code = reply.result
    # A program that a signal ended, as a shell tells it.
    return (code if code >= 0 else 128 - code) if isinstance(code, int) else 1


@command.command()
@click.option(
    "-f", "--file", "files", multiple=True, required=True, help="A YAML or JSON file, - for standard input."
)
def apply(files: tuple[str, ...]) -> None:
    """Create or change objects in the lab's API, as `kubectl apply` does.

    \b
    Example:
      strictarp lab apply -f service.yaml
    """
    from strictarp.lab.documents import read_documents

    documents = [document for name in files for document in read_documents(name)]
    with _connected() as remote:
        lines = remote.result("apply", documents=documents, limit=60)
    for line in lines if isinstance(lines, list) else ():
        click.echo(line)


@command.command()
@click.argument("host")
@click.argument("state", type=click.Choice(["on", "off"]))
def power(host: str, state: str) -> None:
    """Switch a node off (kill -9 of its processes, its links down) or on again.

    \b
    Example:
      strictarp lab power node1 off
    """
    with _connected() as remote:
        remote.result("power", host=host, on=state == "on", limit=60)


@command.command()
@click.argument("process")
@click.option(
    "--away", type=click.FloatRange(0, 3600), default=0.0, help="Seconds until it is started again."
)
def kill(process: str, away: float) -> None:
    """Kill -9 one process; the lab starts it again as a kubelet would.

    \b
    Example:
      strictarp lab kill speaker@node1
      strictarp lab kill apiserver --away 60
    """
    with _connected() as remote:
        remote.result("kill", process=process, away=away, limit=30)


@command.command()
def down() -> None:
    """End the lab and remove all that it left, also after a crash.

    \b
    Example:
      strictarp lab down
    """
    from strictarp.lab import host

    launch = host.running()
    if launch is not None:
        host.stop(launch)
    host.clean_up()


# --- what runs inside the lab ------------------------------------------------------------------------------


@command.command(hidden=True)
@click.argument("options", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def supervise(options: Path) -> int:
    """The lab's first process."""
    import msgspec

    from strictarp.cli.main import main
    from strictarp.lab import preload, supervisor

    preload.load()
    return supervisor.run(msgspec.json.decode(options.read_bytes(), type=supervisor.Options), main)


@command.command(hidden=True)
@click.option("--listen", required=True)
@click.option("--data", required=True, type=click.Path(path_type=Path))
@click.option("--service-cidr", required=True)
def apiserver(listen: str, data: Path, service_cidr: str) -> int:
    """The embedded API server."""
    from strictarp.lab.apiserver import server

    code: int = server.run(listen, data, service_cidr=service_cidr)
    return code


@command.command(hidden=True)
@click.option("--name", required=True)
@click.option("--port", required=True, type=int)
def backend(name: str, port: int) -> int:
    """An HTTP backend."""
    from strictarp.lab import backend as module

    return module.run(name, port)


@command.command(hidden=True)
@click.option("--address", required=True)
@click.option("--port", default=80, type=int)
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--interval-ms", required=True, type=int)
@click.option("--limit-ms", required=True, type=int)
@click.option("--count", required=True, type=int)
def stream(address: str, port: int, out: Path, interval_ms: int, limit_ms: int, count: int) -> int:
    """A stream of HTTP requests."""
    from strictarp.lab import stream as module

    return module.run((address, port), out, interval=interval_ms / 1000, limit=limit_ms / 1000, count=count)


@command.command(hidden=True)
@click.option("--vip", required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--interval-ms", required=True, type=int)
def witness(vip: str, out: Path, interval_ms: int) -> int:
    """The listener on the segment."""
    from strictarp.lab import witness as module

    return module.run(vip, out, interval=interval_ms / 1000)


@command.command(hidden=True)
@click.option("--address", required=True)
@click.option("--times", required=True, type=int)
@click.option("--wait-ms", required=True, type=int)
def resolve(address: str, times: int, wait_ms: int) -> None:
    """Resolve an address again and again."""
    from strictarp.lab import resolver

    write_json("-", resolver.resolve(address, "eth0", times=times, wait=wait_ms / 1000))


@command.command(name="speak-as", hidden=True)
@click.option("--source", required=True)
@click.option("--target", required=True)
def speak_as(source: str, target: str) -> None:
    """Send a packet from an address."""
    from strictarp.lab import resolver

    try:
        resolver.speak_as(source, target, "eth0")
    except OSError as error:
        raise UserError(f"cannot send as {source}: {error.strerror}") from error
