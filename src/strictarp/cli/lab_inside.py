"""What runs inside a lab: hidden commands, each one program that the lab starts on one of its hosts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from strictarp.cli.output import write_json
from strictarp.errors import UserError

COMMANDS: list[click.Command] = []


def _inside(function: Callable[..., Any]) -> click.Command:
    made = click.command(hidden=True)(function)
    COMMANDS.append(made)
    return made


@_inside
@click.argument("options", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def supervise(options: Path) -> int:
    """The lab's first process."""
    import msgspec

    from strictarp.cli.main import main
    from strictarp.lab import preload, supervisor

    decoded = msgspec.json.decode(options.read_bytes(), type=supervisor.Options)
    return supervisor.run(decoded, main, preload.load)


@_inside
@click.option("--listen", required=True)
@click.option("--data", required=True, type=click.Path(path_type=Path))
@click.option("--service-cidr", required=True)
def apiserver(listen: str, data: Path, service_cidr: str) -> int:
    """The embedded API server."""
    from strictarp.lab.apiserver import server

    code: int = server.run(listen, data, service_cidr=service_cidr)
    return code


@_inside
@click.option("--name", required=True)
@click.option("--port", required=True, type=int)
def backend(name: str, port: int) -> int:
    """An HTTP backend."""
    from strictarp.lab import backend as module

    return module.run(name, port)


@_inside
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


@_inside
@click.option("--address", required=True)
@click.option("--port", default=80, type=int)
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--connections", required=True, type=int)
@click.option("--interval-ms", required=True, type=int)
def hold(address: str, port: int, out: Path, connections: int, interval_ms: int) -> int:
    """Connections that stay open."""
    from strictarp.lab import holding as module

    try:
        return module.run((address, port), out, connections=connections, interval=interval_ms / 1000)
    except OSError as error:
        raise UserError(f"cannot connect to {address}: {error.strerror or 'no answer in time'}") from error


@_inside
@click.option("--rate", required=True, type=int)
@click.option("--seconds", required=True, type=float)
def flood(rate: int, seconds: float) -> None:
    """A storm of ARP requests about an address of nobody; prints how many were sent."""
    from strictarp.lab import flood as module
    from strictarp.lab import layout, stranger

    nobody = layout.UNUSED_ADDRESS
    try:
        sent = module.run(
            "eth0", source=stranger.MAC, sender=nobody, target=nobody, rate=rate, seconds=seconds
        )
    except OSError as error:
        raise UserError(f"cannot flood: {error.strerror}") from error
    click.echo(sent)


@_inside
@click.option("--vip", required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--interval-ms", required=True, type=int)
def witness(vip: str, out: Path, interval_ms: int) -> int:
    """The listener on the segment."""
    from strictarp.lab import witness as module

    return module.run(vip, out, interval=interval_ms / 1000)


@_inside
@click.option("--address", required=True)
@click.option("--times", required=True, type=int)
@click.option("--wait-ms", required=True, type=int)
def resolve(address: str, times: int, wait_ms: int) -> None:
    """Resolve an address again and again."""
    from strictarp.lab import resolver

    write_json("-", resolver.resolve(address, "eth0", times=times, wait=wait_ms / 1000))


@_inside
@click.option("--source", required=True)
@click.option("--target", required=True)
def speak_as(source: str, target: str) -> None:
    """Send a packet from an address."""
    from strictarp.lab import resolver

    try:
        resolver.speak_as(source, target, "eth0")
    except OSError as error:
        raise UserError(f"cannot send as {source}: {error.strerror}") from error
