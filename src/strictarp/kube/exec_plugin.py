"""Credentials that a command of the user's gives: the `exec` of a kubeconfig's user (ExecCredential)."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import datetime
from typing import Literal

import msgspec

from strictarp.kube.errors import Unreachable

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
LIMIT = 60.0
"""Seconds that the command may take; it may ask the user to log in."""


class ExecPlugin(msgspec.Struct, frozen=True):
    """What to run.

    where: the field of the kubeconfig. interactive: Never, IfAvailable or Always. cluster: told to the
    command, or None.
    """

    where: str
    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    api_version: str = API_VERSIONS[0]
    interactive: str = "IfAvailable"
    hint: str = ""
    cluster: dict[str, object] | None = None


class Credential(msgspec.Struct, frozen=True, rename="camel"):
    """A token, and when it ends (never if it does not say so)."""

    token: str = ""
    expiration_timestamp: datetime | None = None

    def __repr__(self) -> str:
        return f"Credential({self.expiration_timestamp})"


class _Answer(msgspec.Struct, rename="camel"):
    api_version: str
    kind: Literal["ExecCredential"]
    status: Credential


async def ask(plugin: ExecPlugin) -> Credential:
    """Run the command without a shell; its standard error is the user's. Raises Unreachable."""
    terminal = sys.stdin is not None and sys.stdin.isatty() and plugin.interactive != "Never"
    if plugin.interactive == "Always" and not terminal:
        raise Unreachable(f"{plugin.where}.interactiveMode: Always, and standard input is no terminal")
    spec: dict[str, object] = {"interactive": terminal}
    if plugin.cluster is not None:
        spec["cluster"] = plugin.cluster
    told = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    environment = {
        **os.environ,
        **dict(plugin.env),
        "KUBERNETES_EXEC_INFO": msgspec.json.encode(told).decode(),
    }
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            stdin=None if terminal else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
    except (OSError, ValueError) as error:
        hint = f"; {' '.join(plugin.hint.split())}" if plugin.hint else ""
        raise Unreachable(f"{plugin.where}.command: cannot run {plugin.command!r}: {error}{hint}") from None
    try:
        output, _ = await asyncio.wait_for(process.communicate(), LIMIT)
    except TimeoutError:
        raise Unreachable(f"{plugin.where}: {plugin.command} gave nothing within {LIMIT:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Unreachable(f"{plugin.where}: {plugin.command} ended with exit code {process.returncode}")
    return _read(output, plugin)


def _read(output: bytes, plugin: ExecPlugin) -> Credential:
    """What the command printed. Its text is not repeated in messages: it may hold secrets."""
    try:
        answer = msgspec.json.decode(output, type=_Answer)
    except msgspec.DecodeError:
        raise Unreachable(f"{plugin.where}: {plugin.command} printed no ExecCredential") from None
    if answer.api_version != plugin.api_version:
        raise Unreachable(
            f"{plugin.where}.apiVersion: is {plugin.api_version}, and {plugin.command} answered in "
            f"{answer.api_version!r}"
        )
    token = answer.status.token
    if not token:
        raise Unreachable(
            f"{plugin.where}: {plugin.command} gave no token; client certificates from commands are not "
            "supported"
        )
    if not token.isascii() or not token.isprintable():
        raise Unreachable(f"{plugin.where}: {plugin.command} gave a token that no HTTP header can carry")
    return answer.status
