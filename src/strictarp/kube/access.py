"""Which API server a person means: kubeconfig files, found as kubectl finds them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from strictarp.errors import UserError
from strictarp.kube.config import SERVICE_ACCOUNT, ClientConfig, chosen, document_of, in_cluster, text_of


class Access(msgspec.Struct, frozen=True):
    """The API server that a person means, as kubectl finds it: a file, and a context in it."""

    kubeconfig: str | None = None
    context: str | None = None

    def files(self, environ: Mapping[str, str]) -> tuple[Path, ...]:
        """The file named, else those of KUBECONFIG that exist, else ~/.kube/config if it exists."""
        if self.kubeconfig is not None:
            return (Path(self.kubeconfig),)
        listed = [Path(each) for each in environ.get("KUBECONFIG", "").split(os.pathsep) if each]
        if listed:
            return tuple(each for each in listed if each.exists()) or tuple(listed[:1])
        usual = Path(environ.get("HOME", "/")) / ".kube" / "config"
        return (usual,) if usual.exists() else ()

    def in_reach(self, environ: Mapping[str, str]) -> bool:
        """Whether there is an API server to ask: a file, or the service account of a pod."""
        if self.files(environ):
            return True
        try:
            in_cluster(environ, SERVICE_ACCOUNT)
        except UserError:
            return False
        return True


def find(access: Access) -> ClientConfig:
    """What a person's commands use: `access.files`, else the service account of the pod we run in.

    Several files are one, as for kubectl: the first that names a thing wins. Raises UserError.
    """
    files = access.files(os.environ)
    if files:
        return chosen([document_of(text_of(file), file) for file in files], access.context)
    if access.context is not None:
        raise UserError("--context: there is no kubeconfig; name one with --kubeconfig")
    return in_cluster(os.environ, SERVICE_ACCOUNT)
