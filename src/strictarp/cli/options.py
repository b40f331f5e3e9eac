"""Options that several commands have in common, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from strictarp.arp.switching import Scope

F = TypeVar("F", bound=Callable[..., Any])


class ListenAddress(click.ParamType[tuple[str | None, int]]):
    """HOST:PORT or :PORT; the host is None for every address of this machine."""

    name = "address"

    def convert(
        self, value: str | tuple[str | None, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str | None, int]:
        """Host and port; a usage error for anything else."""
        if isinstance(value, tuple):
            return value
        host, colon, port = value.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
            self.fail(f"{value!r} is no address such as :9300 or 127.0.0.1:9300", param, ctx)
        return host.strip("[]") or None, int(port)


def scope_option(name: str, help_text: str) -> Callable[[F], F]:
    """Where strictARP is to hold, as the parameter `scope`."""
    return click.option(
        name,
        "scope",
        type=click.Choice([scope.value for scope in Scope]),
        default=Scope.ALL.value,
        show_default=True,
        help=help_text,
    )


def access_options(function: F) -> F:
    """Which API server, as the parameters `kubeconfig` and `context` (`kube.access.Access`)."""
    for option in (
        click.option("--context", default=None, metavar="NAME", help="A context of the kubeconfig."),
        click.option(
            "--kubeconfig",
            default=None,
            metavar="FILE",
            help="Without it: KUBECONFIG, ~/.kube/config, or the service account of the pod.",
        ),
    ):
        function = option(function)
    return function


def facts_option(function: F) -> F:
    """`--host FACTS` as the parameter `facts_file`."""
    return click.option(
        "--host",
        "facts_file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FACTS",
        help="Facts of a host, from `strictarp facts --json FACTS`. Without it: this very host.",
    )(function)


def objects_option(kinds: str) -> Callable[[F], F]:
    """`--objects FILE|DIR`, as the parameter `paths`; `kinds` says what is read of them."""
    return click.option(
        "--objects",
        "paths",
        multiple=True,
        required=True,
        type=click.Path(path_type=Path),
        metavar="FILE|DIR",
        help=f"{kinds} (YAML or JSON); may be repeated.",
    )
