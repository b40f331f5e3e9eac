"""`strictarp enable`: strictARP on, in the cluster's configuration and on its nodes."""

from __future__ import annotations

import click

from strictarp.cli.switching import switch, switch_options


@click.command()
@switch_options
def command(
    kubeconfig: str | None, *, dry_run: bool, yes: bool, timeout: float, json_target: str | None
) -> int:
    """Switch strictARP on in a cluster, and verify it.

    Sets ipvs.strictARP: true in ConfigMap kube-system/kube-proxy, restarts the proxies, follows the rollout
    and asks every node. If the rollout or the proof fails, it is all put back.

    \b
    Exit codes:
      0  in force on every node
      1  refused, or failed and put back; the last line names the state of the cluster
      3  cannot look: no API, no permission, or nodes whose proxy does not tell
      64 usage error

    \b
    Example:
      strictarp enable --kubeconfig ~/.kube/config --dry-run
    """
    return switch(
        wanted=True,
        kubeconfig=kubeconfig,
        dry_run=dry_run,
        yes=yes,
        timeout=timeout,
        json_target=json_target,
    )
