"""Where the API keeps what hellos need: the key, and what the cluster's id is made of."""

from __future__ import annotations

import base64

from strictarp.hello.auth import Keys
from strictarp.hello.ids import cluster_id
from strictarp.kube.objects import Namespace, Secret

SECRET = "strictarp-hello"  # noqa: S105 - the name of one
CLUSTER_NAMESPACE = "kube-system"
"""Its UID is as good as a cluster's: it lives as long, and no other has it."""


class UnusableSecret(Exception):
    """The Secret is there and its data cannot be used; the message names the field, never its value."""


def read_keys(secret: Secret | None) -> Keys | None:
    """The keys of Secret `strictarp-hello` (`key`, and `previous` while it is being rotated), None without.

    Raises UnusableSecret.
    """
    if secret is None or not secret.data:
        return None
    found = []
    for name in ("key", "previous"):
        try:
            found.append(base64.b64decode(secret.data.get(name) or "", validate=True))
        except ValueError:  # binascii.Error is one; a character beyond ASCII is another
            raise UnusableSecret(f"Secret {secret.key}: data.{name}: is no base64") from None
    try:
        return Keys(*found)
    except ValueError as error:
        raise UnusableSecret(f"Secret {secret.key}: data.{error}") from None


def read_cluster(kube_system: Namespace | None) -> int | None:
    """The cluster's id on the wire, None while it is not known."""
    uid = kube_system.metadata.uid if kube_system else ""
    return cluster_id(uid) if uid else None
