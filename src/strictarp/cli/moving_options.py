"""What `strictarp move`, `drain`, `undrain` and `rebalance` have in common on the command line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

from strictarp.cli.judging import judging_options
from strictarp.cli.options import access_options
from strictarp.cli.output import json_option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from strictarp.kube.client import Client
    from strictarp.kube.model import Resource
    from strictarp.speaker.moving import Where

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
COMPLETION_LIMIT = 2.0
"""Seconds that completing a name may ask the API."""


class Options(TypedDict):
    """What `moving_options` adds."""

    kubeconfig: str | None
    context: str | None
    dry_run: bool
    json_target: str | None
    namespace: str
    lb_class: str
    ignore_exclude_lb: bool
    cordoned_last: bool


def moving_options(function: F) -> F:
    """The options of all of them."""
    for option in (
        json_option,
        judging_options,
        click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing."),
        access_options,
    ):
        function = option(function)
    return function


def timeout_option(default: float, what: str) -> Callable[[F], F]:
    """`--timeout S`."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=1, max=86_400),
        default=default,
        show_default=True,
        metavar="S",
        help=what,
    )


def where(options: Options) -> Where:
    """What the options say of the speakers."""
    from strictarp.speaker.candidates import Options as Judging
    from strictarp.speaker.moving import Where

    judging = Judging(options["lb_class"], options["ignore_exclude_lb"], options["cordoned_last"])
    return Where(options["namespace"], judging)


def with_api(options: Options, work: Callable[[Client], Awaitable[T]]) -> T:
    """Run `work` with a client. Raises UserError, also for an API that is away or refuses (exit 3)."""
    from strictarp.errors import UserError
    from strictarp.kube.access import Access, find
    from strictarp.kube.client import Client
    from strictarp.kube.errors import KubeError
    from strictarp.speaker.moving import CANNOT_LOOK, cannot_look

    async def run() -> T:
        async with Client(loaded) as client:
            return await work(client)

    try:
        loaded = find(Access(options["kubeconfig"], options["context"]))
    except UserError as error:
        raise UserError(str(error), CANNOT_LOOK) from None
    try:
        return asyncio.run(run())
    except KubeError as error:
        raise cannot_look(error) from error


def tell(line: str) -> None:
    """Progress, on standard error."""
    click.echo(line, err=True)


def tell_result(line: str, *, quiet: bool, good: bool) -> None:
    """The last line: on standard output when it is what was wanted, and nothing else goes there."""
    if quiet or not good:
        click.echo(line, err=True)
    else:
        click.echo(line, file=sys.stdout)


def complete_node(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of Nodes."""
    from strictarp.kube.objects import NODES

    return _complete(ctx, NODES, incomplete)


def complete_service(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """LoadBalancer Services, as NAMESPACE/NAME."""
    from strictarp.kube.objects import SERVICES

    return _complete(ctx, SERVICES, incomplete)


def _complete(ctx: click.Context, resource: Resource[Any], incomplete: str) -> list[CompletionItem]:
    """Keys of objects. An API that does not answer at once completes nothing."""
    from click.shell_completion import CompletionItem

    from strictarp.errors import UserError
    from strictarp.kube.access import Access, find
    from strictarp.kube.client import Client
    from strictarp.kube.errors import KubeError
    from strictarp.kube.objects import Service

    async def names() -> list[str]:
        async with asyncio.timeout(COMPLETION_LIMIT), Client(loaded) as client:
            found = (await client.list(resource)).items
        return [
            each.key for each in found if not isinstance(each, Service) or each.spec.type == "LoadBalancer"
        ]

    try:
        loaded = find(Access(ctx.params.get("kubeconfig"), ctx.params.get("context")))
        return [CompletionItem(name) for name in asyncio.run(names()) if name.startswith(incomplete)]
    except (KubeError, UserError, TimeoutError):
        return []
