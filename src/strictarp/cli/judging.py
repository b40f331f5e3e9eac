"""The options that decide who may announce: of the speaker, its plan, and what moves addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def judging_options(function: F) -> F:
    """Add them as `namespace`, `lb_class`, `ignore_exclude_lb` and `cordoned_last`."""
    for option in (
        click.option("--cordoned-last", is_flag=True, help="Cordoned nodes come after all others."),
        click.option(
            "--ignore-exclude-lb", is_flag=True, help="Announce from nodes excluded from load balancers too."
        ),
        click.option(
            "--lb-class", default="", metavar="CLASS", help="Serve Services of this loadBalancerClass only."
        ),
        click.option(
            "--namespace",
            default="metallb-system",
            show_default=True,
            help="Where pools, Leases and the key are.",
        ),
    ):
        function = option(function)
    return function
