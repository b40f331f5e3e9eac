"""`strictarp enable`: strictARP on, in the cluster's configuration and on its nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import click

from strictarp.cli.switching import Options, switch, switch_options


@click.command()
@switch_options
@click.option(
    "--facts",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Facts of a node, from `strictarp facts --json FILE` there. For several nodes, several times.",
)
@click.option("--accept-losses", is_flag=True, help="Go on although answers would be missed (see --facts).")
def command(facts: tuple[Path, ...], *, accept_losses: bool, **options: Unpack[Options]) -> int:
    """Switch strictARP on in a cluster, and prove it.

    Finds where kube-proxy is configured. If that is a ConfigMap, sets ipvs.strictARP: true in it, restarts
    the proxies, follows the rollout, asks every node, has the owners of the Service IPs announce, and asks on
    the wire: one host must answer for each. If anything of that fails, it is all put back. If it is another
    place, says which one and what to write there.

    \b
    Exit codes:
      0  in force on every node, or proved on the wire
      1  refused, or failed and put back; the last line names the state of the cluster
      3  cannot look: no API, no permission, or nodes whose proxy does not tell and no proof on the wire
      4  not applicable: no Service IP is bound to an interface in this mode
      64 usage error

    \b
    Examples:
      strictarp enable --kubeconfig ~/.kube/config --dry-run
      strictarp enable --facts node1.json --facts node2.json
    """
    return switch(options, wanted=True, facts=facts, accept_losses=accept_losses)
