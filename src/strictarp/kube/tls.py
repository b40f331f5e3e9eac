"""TLS as a kubeconfig asks for it."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

from strictarp.errors import UserError
from strictarp.kube.config import ClientConfig


def ssl_context(config: ClientConfig) -> ssl.SSLContext | None:
    """TLS settings, None for an http:// server; raises UserError for material that OpenSSL refuses."""
    if config.server.startswith("http://"):
        return None
    try:
        context = ssl.create_default_context(cadata=config.ca.decode() if config.ca else None)
        if config.certificate is not None and config.key is not None:
            _load_certificate(context, config.certificate, config.key)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise UserError(f"{config.server}: unusable certificate or key: {error}") from error
    if config.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # OpenSSL takes files only; the folder is private to us and gone at once.
    with tempfile.TemporaryDirectory(prefix="strictarp-") as folder:
        files = Path(folder) / "certificate", Path(folder) / "key"
        for file, content in zip(files, (certificate, key), strict=True):
            file.touch(mode=0o600)
            file.write_bytes(content)
        context.load_cert_chain(*files)
