"""`strictarp lab`: a cluster on this machine, and the scenarios that prove what strictarp promises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from strictarp.cli import lab_inside
from strictarp.cli.output import json_option, write_json
from strictarp.errors import UserError

if TYPE_CHECKING:
    from strictarp.lab.host import Launch
    from strictarp.lab.judging import RunReport
    from strictarp.lab.remote import Remote
    from strictarp.lab.report import Report

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
        ("--season-ms", "How long a node must be there to be as good as the others."),
        ("--late-ms", "How late a claim's end may be noticed."),
        ("--claim-ms", "How long a claim asks the wire."),
        ("--hello-ms", "Interval of the speakers' hellos."),
    ):
        function = click.option(flag, type=click.IntRange(1, 60_000), default=None, help=text)(function)
    return function


def _size(default_nodes: int) -> Callable[[F], F]:
    def add(function: F) -> F:
        proxy = click.option(
            "--proxy",
            type=click.Choice(["strictarp", "none"]),
            default="strictarp",
            show_default=True,
            help="none: VIPs on a stand-in device and an HTTP server on each node; runs on any kernel.",
        )
        nodes = click.option("--nodes", type=click.IntRange(1, 9), default=default_nodes, show_default=True)
        return nodes(proxy(function))

    return add


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


def _call_on_own_lab(
    operation: str,
    params: dict[str, Any],
    *,
    on_event: Callable[[dict[str, Any]], str],
    keep: bool,
    isolation: str,
    nodes: int,
    proxy: str,
    intervals: dict[str, int | None],
) -> object:
    """Start a lab, have it do something, and end it; returns the result.

    The lab's folder stays when the result is not `ok`, or with `keep`.
    """
    from strictarp.lab import host

    result: object = None
    with _progress() as progress:
        launch, remote = _start(
            ephemeral=True,
            isolation=isolation,
            nodes=nodes,
            proxy=proxy,
            intervals=intervals,
            progress=progress,
        )
        try:
            for reply in remote.call(operation, **params):
                if reply.progress:
                    progress(reply.progress)
                if reply.event is not None:
                    progress(on_event(reply.event))
                result = reply.result
        finally:
            remote.close()
            host.stop(launch)
            if not keep and isinstance(result, dict) and result.get("ok"):
                host.clean_up()
    return result


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
    from strictarp.lab.report import Report

    began = time.monotonic()
    result = _call_on_own_lab(
        "demo",
        {},
        on_event=lab_table.step_line,
        keep=keep,
        isolation=isolation,
        nodes=3,
        proxy="strictarp",
        intervals=intervals,
    )
    report = msgspec.convert(result, Report)
    report = msgspec.structs.replace(report, seconds=round(time.monotonic() - began, 1))
    if json_target != "-":
        lab_table.print_report(report)
    return _ended(report, json_target)


def _ended(report: Report | RunReport, json_target: str | None) -> int:
    """Write the figures where they are wanted; the exit code, and where to look if something did not hold."""
    if json_target is not None:
        write_json(json_target, report)
    if not report.ok:
        from strictarp.lab import host

        click.echo(f"not every expectation held; the logs are in {host.state_folder()}/logs", err=True)
    return 0 if report.ok else 1


@command.command()
@click.argument("scenarios", nargs=-1, metavar="SCENARIO…")
@click.option("--list", "listing", is_flag=True, help="Print the shipped scenarios and end.")
@click.option("--times", type=click.IntRange(1, 1000), default=1, show_default=True, help="Repetitions.")
@_isolation
@_intervals
@_size(default_nodes=5)
@click.option("--keep", is_flag=True, help="Leave the lab's folder with its logs behind.")
@json_option
def run(
    scenarios: tuple[str, ...],
    times: int,
    isolation: str,
    *,
    nodes: int,
    proxy: str,
    listing: bool,
    keep: bool,
    json_target: str | None,
    **intervals: int | None,
) -> int:
    """Play scenarios on a lab of their own, and judge what the wire showed.

    A SCENARIO is the name of a shipped one or the path of a .yaml file; `docs/lab.md` has the format. All of
    them run on one lab, which heals between the repetitions.

    \b
    Examples:
      strictarp lab run --list
      strictarp lab run power-off sigstop --times 20 --proxy none
      strictarp lab run ./my-switch-dies.yaml --json result.json

    Exit status 0 if every expectation held, 1 if not.
    """
    from strictarp.cli import lab_table
    from strictarp.lab import scenarios as library
    from strictarp.lab.judging import RunReport
    from strictarp.lab.scenario import check_lab, to_builtins

    if listing:
        lab_table.print_scenarios(library.shipped().values())
        return 0
    if not scenarios:
        raise click.UsageError("name a SCENARIO; see `strictarp lab run --list`.")
    found = [library.find(name) for name in scenarios]
    for each in found:
        check_lab(each, nodes, proxy)
    documents = {each.name: to_builtins(each) for each in found}
    if len(documents) < len(found):
        raise UserError("two of the scenarios have the same name; rename a file")
    result = _call_on_own_lab(
        "run",
        {"scenarios": documents, "times": times},
        on_event=lab_table.result_line,
        keep=keep,
        isolation=isolation,
        nodes=nodes,
        proxy=proxy,
        intervals=intervals,
    )
    import msgspec

    report = msgspec.convert(result, RunReport)
    if json_target != "-":
        lab_table.print_run(report)
    return _ended(report, json_target)


@command.command()
@_isolation
@_intervals
@_size(default_nodes=3)
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


for _each in lab_inside.COMMANDS:
    command.add_command(_each)
