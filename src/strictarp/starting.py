"""What makes daemons start quickly. Thin."""

from __future__ import annotations

import importlib
import ssl


def import_aiohttp() -> None:
    """Import aiohttp without the system's certificate authorities.

    At import it makes two TLS contexts with all of them (aiohttp/connector.py), a fifth of a daemon's start,
    and nobody here uses either: ours are made from the kubeconfig (`kube.config.ssl_context`). Without
    authorities they trust nobody.
    """
    own = ssl.SSLContext.set_default_verify_paths
    setattr(ssl.SSLContext, "set_default_verify_paths", _no_authorities)  # noqa: B010 - mypy forbids it
    try:
        importlib.import_module("aiohttp")
    finally:
        setattr(ssl.SSLContext, "set_default_verify_paths", own)  # noqa: B010


def _no_authorities(_context: ssl.SSLContext) -> None:
    """Leave them out."""
