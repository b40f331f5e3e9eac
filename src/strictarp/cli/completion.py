"""`strictarp completion`: what a shell needs to complete commands, options, and names of the cluster."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a script that makes a shell complete `strictarp`.

    Commands and options are completed, and names of Nodes and Services for `move` and `drain`, as
    far as the API answers within two seconds.

    \b
    Examples:
      eval "$(strictarp completion bash)"
      strictarp completion fish >~/.config/fish/completions/strictarp.fish
    """
    from click.shell_completion import get_completion_class

    from strictarp.cli.main import program

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - these three are click's own
    click.echo(found(program, {}, "strictarp", "_STRICTARP_COMPLETE").source())
