"""Entry of the program: loads a command when it is asked for, turns errors into messages and exit codes.

Exit codes of every command: 64 for a usage error (sysexits EX_USAGE), 130 after Ctrl-C; the others are the
command's own and stand in its help.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from strictarp import __version__
from strictarp.errors import EX_USAGE, UserError

EX_INTERRUPTED = 130

COMMANDS = {
    "completion": "what a shell needs to complete commands and names",
    "controller": "give Services their addresses from pools",
    "disable": "switch strictARP off in a cluster",
    "doctor": "what is wrong with a cluster's Layer 2, and what mends it",
    "drain": "hand over all that a node answers for, and keep it free",
    "enable": "switch strictARP on in a cluster, and verify it",
    "explain": "why a host's kernel answers an ARP request, or not",
    "facts": "what decides about ARP on this node, as JSON",
    "guard": "keep strictARP in force on this node, and put back what was there",
    "lab": "a cluster on this machine, and the scenarios that prove it",
    "move": "hand a Service's addresses over to a node",
    "node-report": "what this node shows to root, for doctor",
    "preflight": "what strictARP would break on this node, before it is switched on",
    "probe": "ask on the wire who answers for an address",
    "proxy": "program IPVS for the Services of a cluster (a node's daemon)",
    "rebalance": "even the addresses out over the nodes",
    "undrain": "a drained node may answer again",
    "watch": "keep asking who answers for addresses, and listen",
    "speaker": "answer ARP for the addresses this node owns (a node's daemon)",
}


class _LazyGroup(click.Group):
    """Knows the commands by name and imports `strictarp.cli.NAME` when one is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"strictarp.cli.{cmd_name.replace('-', '_')}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"strictarp.cli.{cmd_name}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="strictarp")
def program() -> None:
    """Bare-metal Kubernetes LoadBalancer IPs that exactly one node answers for.

    \b
    Example:
      strictarp lab demo              see the fault, the cure and a failover
      strictarp probe 192.0.2.100     who answers for this address?
    """


def main(argv: Sequence[str]) -> int:
    """Run one command line, without the program's name, and return its exit code."""
    try:
        result = program.main(args=list(argv), prog_name="strictarp", standalone_mode=False)
    except click.ClickException as error:
        error.show(sys.stderr)
        return EX_USAGE if isinstance(error, click.UsageError) else error.exit_code
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return EX_INTERRUPTED
    return result if isinstance(result, int) else 0


def entry() -> None:
    """Console script."""
    sys.exit(main(sys.argv[1:]))
