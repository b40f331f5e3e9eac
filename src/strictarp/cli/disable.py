"""`strictarp disable`: strictARP off, in the cluster's configuration and on its nodes."""

from __future__ import annotations

from typing import Unpack

import click

from strictarp.cli.switching import Options, switch, switch_options


@click.command()
@switch_options
def command(**options: Unpack[Options]) -> int:
    """Switch strictARP off in a cluster, and verify it.

    Finds where kube-proxy is configured. If that is a ConfigMap, sets ipvs.strictARP: false in it, restarts
    the proxies, follows the rollout, asks every node, and tells who answers on the wire before and after. If
    anything of that fails, it is all put back. If it is another place, says which and what to write there.

    \b
    Exit codes:
      0  asked for on no node
      1  refused, or failed and put back; the last line names the state of the cluster
      3  cannot look: no API, no permission, or nodes whose proxy does not tell
      4  not applicable: no Service IP is bound to an interface in this mode
      64 usage error

    \b
    Example:
      strictarp disable --kubeconfig ~/.kube/config --dry-run
    """
    return switch(options, wanted=False)
