"""Where the API server is and who we are: kubeconfig files, and the files of a pod's service account."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec
import yaml

from strictarp.errors import UserError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# What a user entry may hold that we would otherwise silently leave out.
UNSUPPORTED_USER = {
    "exec": "exec credentials are not supported yet; use a token, a tokenFile or a client certificate",
    "auth-provider": "removed from Kubernetes in 1.26; use a token or a client certificate",
    "username": "basic authentication was removed from Kubernetes in 1.19; use a token",
    "password": "basic authentication was removed from Kubernetes in 1.19; use a token",
    "as": "impersonation is not supported; use credentials of the user itself",
    "as-groups": "impersonation is not supported; use credentials of the user itself",
    "as-uid": "impersonation is not supported; use credentials of the user itself",
}

Mapped: TypeAlias = Mapping[object, object]


class ClientConfig(msgspec.Struct, frozen=True):
    """What a client needs to know. PEM material is held as bytes; its representation shows no secrets."""

    server: str
    ca: bytes | None = None
    insecure: bool = False
    server_name: str | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    token: str | None = None
    token_file: Path | None = None
    namespace: str = "default"

    def __repr__(self) -> str:
        return f"ClientConfig({self.server})"


def load(path: str | Path | None, context: str | None = None) -> ClientConfig:
    """Read a kubeconfig; without a path, the service account of the pod we run in.

    Raises UserError naming file and field.
    """
    if path is None:
        return in_cluster(os.environ, SERVICE_ACCOUNT)
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot read the kubeconfig: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a kubeconfig: not UTF-8 text") from error
    except ValueError as error:  # a NUL in the name
        raise UserError(f"{str(file)!r}: cannot read the kubeconfig: {error}") from error
    return parse(text, file, context)


def in_cluster(environ: Mapping[str, str], folder: Path) -> ClientConfig:
    """The configuration that the kubelet gives to every pod; raises UserError outside of one."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise UserError(
            "not inside a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; "
            "name a kubeconfig with --kubeconfig"
        )
    bracketed = f"[{host}]" if ":" in host else host
    token_file = folder / "token"
    _bytes_of(token_file, "service account token")
    namespace = folder / "namespace"
    return ClientConfig(
        server=f"https://{bracketed}:{port}",
        ca=_bytes_of(folder / "ca.crt", "service account CA"),
        token_file=token_file,
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
    )


def parse(text: str, file: Path, context: str | None = None) -> ClientConfig:
    """A kubeconfig's text; relative paths in it are relative to the file's folder. Raises UserError."""
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: not a kubeconfig: {' '.join(str(error).split())}") from error
    except (LookupError, AttributeError) as error:  # PyYAML, of `!!bool x` and the like
        raise UserError(f"{file}: not a kubeconfig: a value is not what its tag says: {error}") from error
    if not isinstance(document, Mapping):
        raise UserError(f"{file}: not a kubeconfig: the document is no mapping")
    name = context or document.get("current-context")
    if not isinstance(name, str) or not name:
        raise UserError(f"{file}: current-context: missing; set it with `kubectl config use-context NAME`")
    chosen = _named(document, "contexts", name, "context", file)
    where = f"{file}: contexts[{name}].context"
    cluster_name = _text(chosen, "cluster", where) or ""
    cluster = _named(document, "clusters", cluster_name, "cluster", file)
    user_name = _text(chosen, "user", where)
    user = _named(document, "users", user_name, "user", file) if user_name else {}
    return _combine(
        _Part(cluster, f"{file}: clusters[{cluster_name}].cluster", file.parent),
        _Part(user, f"{file}: users[{user_name}].user", file.parent),
        _text(chosen, "namespace", where) or "default",
    )


class _Part:
    """One mapping of the kubeconfig, and how to name its fields in messages."""

    def __init__(self, values: Mapped, where: str, folder: Path) -> None:
        self.values = values
        self.where = where
        self.folder = folder

    def text(self, field: str) -> str | None:
        return _text(self.values, field, self.where)

    def path(self, field: str) -> Path | None:
        name = self.text(field)
        return self.folder / name if name else None

    def data(self, field: str) -> bytes | None:
        """`FIELD-data` in base64, which wins over the file named by `FIELD`, as in client-go."""
        inline = self.text(f"{field}-data")
        if inline:
            try:
                return base64.b64decode(inline, validate=False)
            except binascii.Error as error:
                raise UserError(f"{self.where}.{field}-data: not base64: {error}") from error
        path = self.path(field)
        return _bytes_of(path, f"{self.where}.{field}") if path else None


def _combine(cluster: _Part, user: _Part, namespace: str) -> ClientConfig:
    server = cluster.text("server")
    if not server or not server.startswith(("https://", "http://")):
        raise UserError(f"{cluster.where}.server: must be an http:// or https:// address, not {server!r}")
    if cluster.text("proxy-url"):
        raise UserError(f"{cluster.where}.proxy-url: proxies are not supported; name the server itself")
    for field, why in UNSUPPORTED_USER.items():
        if user.values.get(field):
            raise UserError(f"{user.where}.{field}: {why}")
    insecure = cluster.values.get("insecure-skip-tls-verify") or False
    if not isinstance(insecure, bool):
        raise UserError(f"{cluster.where}.insecure-skip-tls-verify: must be true or false")
    authority = cluster.data("certificate-authority")
    if insecure and authority:
        raise UserError(
            f"{cluster.where}: certificate-authority and insecure-skip-tls-verify exclude another"
        )
    certificate, key = user.data("client-certificate"), user.data("client-key")
    if (certificate is None) != (key is None):
        missing = "client-key" if key is None else "client-certificate"
        raise UserError(f"{user.where}.{missing}: missing; certificate and key are needed together")
    return ClientConfig(
        server=server.rstrip("/"),
        ca=authority,
        insecure=insecure,
        server_name=cluster.text("tls-server-name"),
        certificate=certificate,
        key=key,
        token=user.text("token"),
        token_file=user.path("tokenFile"),
        namespace=namespace,
    )


def _named(document: Mapped, section: str, name: str, inner: str, file: Path) -> Mapped:
    entries = document.get(section)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and entry.get("name") == name:
            value = entry.get(inner)
            if isinstance(value, Mapping):
                return value
            raise UserError(f"{file}: {section}[{name}].{inner}: must be a mapping")
    raise UserError(f"{file}: {section}: there is no entry named {name!r}")


def _text(values: Mapped, field: str, where: str) -> str | None:
    value = values.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise UserError(f"{where}.{field}: must be text")
    return value


def _bytes_of(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{what}: cannot read {path}: {error.strerror}") from error


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


class Token:
    """The bearer token; one from a file is read again when the file changes (the kubelet rotates it)."""

    def __init__(self, config: ClientConfig) -> None:
        self._file = config.token_file
        self._value = config.token if config.token_file is None else None
        self._seen: tuple[int, int, int] | None = None

    def current(self) -> str | None:
        """The token to send now. A file that has vanished for a moment leaves the last token in place."""
        if self._file is None:
            return self._value
        try:
            state = self._file.stat()
            seen = (state.st_mtime_ns, state.st_ino, state.st_size)
            if seen != self._seen:
                self._value = self._file.read_text(encoding="ascii", errors="ignore").strip() or self._value
                self._seen = seen
        except OSError:
            return self._value
        return self._value
