"""Where the API server is and who we are: kubeconfig files, and the files of a pod's service account."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import yaml

from strictarp.errors import UserError
from strictarp.kube.exec_plugin import API_VERSIONS, ExecPlugin

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# What a user entry may hold that we would otherwise silently leave out.
UNSUPPORTED_USER = {
    "auth-provider": "removed from Kubernetes in 1.26; use exec, a token or a client certificate",
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
    plugin: ExecPlugin | None = None
    namespace: str = "default"

    def __repr__(self) -> str:
        return f"ClientConfig({self.server})"


def load(path: str | Path | None, *, named_by: str = "--kubeconfig") -> ClientConfig:
    """What a daemon uses: a kubeconfig; without a path, the service account of the pod we run in.

    `named_by`: what would name a kubeconfig. Raises UserError naming file and field.
    """
    if path is None:
        return in_cluster(os.environ, SERVICE_ACCOUNT, named_by)
    file = Path(path)
    return parse(text_of(file), file)


def text_of(file: Path) -> str:
    """The text of a kubeconfig. Raises UserError."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot read the kubeconfig: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a kubeconfig: not UTF-8 text") from error
    except ValueError as error:  # a NUL in the name
        raise UserError(f"{str(file)!r}: cannot read the kubeconfig: {error}") from error


def in_cluster(environ: Mapping[str, str], folder: Path, named_by: str = "--kubeconfig") -> ClientConfig:
    """The configuration that the kubelet gives to every pod; raises UserError outside of one."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise UserError(
            "no kubeconfig, and not inside a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT "
            f"are not set; name a kubeconfig with {named_by}"
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
    return chosen([document_of(text, file)], context)


class Document(NamedTuple):
    """A kubeconfig that was read, and where from."""

    values: Mapped
    file: Path


def document_of(text: str, file: Path) -> Document:
    """A kubeconfig as YAML. Raises UserError."""
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: not a kubeconfig: {' '.join(str(error).split())}") from error
    except (LookupError, AttributeError) as error:  # PyYAML, of `!!bool x` and the like
        raise UserError(f"{file}: not a kubeconfig: a value is not what its tag says: {error}") from error
    if not isinstance(document, Mapping):
        raise UserError(f"{file}: not a kubeconfig: the document is no mapping")
    return Document(document, file)


def chosen(documents: Sequence[Document], context: str | None) -> ClientConfig:
    """What a context says, else the current one; of several files, the first that names a thing wins."""
    name = context or next(filter(None, (each.values.get("current-context") for each in documents)), None)
    if not isinstance(name, str) or not name:
        raise UserError(
            f"{documents[0].file}: current-context: missing; set it with `kubectl config use-context NAME`"
        )
    entry = _named(documents, "contexts", name, "context")
    user_name = entry.text("user")
    return _combine(
        _named(documents, "clusters", entry.text("cluster") or "", "cluster"),
        _named(documents, "users", user_name, "user") if user_name else _Part({}, "", Path()),
        entry.text("namespace") or "default",
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
        plugin=_plugin(user, cluster),
        namespace=namespace,
    )


def _plugin(user: _Part, cluster: _Part) -> ExecPlugin | None:
    """The `exec` of a user; a token or tokenFile wins over it, as in client-go."""
    values = user.values.get("exec")
    if values is None or user.text("token") or user.text("tokenFile"):
        return None
    where = f"{user.where}.exec"
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: must be a mapping")
    part = _Part(values, where, user.folder)
    command, version = part.text("command"), part.text("apiVersion")
    if not command:
        raise UserError(f"{where}.command: missing; name the command that prints the credential")
    if version not in API_VERSIONS:
        raise UserError(f"{where}.apiVersion: must be {' or '.join(API_VERSIONS)}, not {version!r}")
    interactive = part.text("interactiveMode") or "IfAvailable"
    if interactive not in ("Never", "IfAvailable", "Always"):
        raise UserError(f"{where}.interactiveMode: must be Never, IfAvailable or Always, not {interactive!r}")
    return ExecPlugin(
        where,
        # As client-go: a name is looked up in PATH, a path with a slash is relative to the file's folder.
        str(user.folder / command) if os.sep in command else command,
        _words(values, "args", where),
        _variables(values, where),
        version,
        interactive,
        part.text("installHint") or "",
        _told_cluster(cluster) if values.get("provideClusterInfo") is True else None,
    )


def _words(values: Mapped, field: str, where: str) -> tuple[str, ...]:
    found = values.get(field) or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise UserError(f"{where}.{field}: must be a list of texts")
    return tuple(found)


def _variables(values: Mapped, where: str) -> tuple[tuple[str, str], ...]:
    found = values.get("env") or []
    pairs = []
    for number, each in enumerate(found if isinstance(found, list) else [None]):
        name, value = (each.get("name"), each.get("value")) if isinstance(each, Mapping) else (None, None)
        if not isinstance(name, str) or not name or not isinstance(value, str):
            raise UserError(f"{where}.env[{number}]: must have a name and a value, both text")
        pairs.append((name, value))
    return tuple(pairs)


def _told_cluster(cluster: _Part) -> dict[str, object]:
    """ExecCredential spec.cluster: what the command may need to know of the server."""
    authority = cluster.data("certificate-authority")
    told: dict[str, object] = {"server": cluster.text("server")}
    if authority:
        told["certificate-authority-data"] = base64.b64encode(authority).decode()
    for field in ("insecure-skip-tls-verify", "tls-server-name"):
        if cluster.values.get(field):
            told[field] = cluster.values[field]
    return told


def _named(documents: Sequence[Document], section: str, name: str, inner: str) -> _Part:
    for values, file in documents:
        entries = values.get(section)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping) and entry.get("name") == name:
                where, value = f"{file}: {section}[{name}].{inner}", entry.get(inner)
                if isinstance(value, Mapping):
                    return _Part(value, where, file.parent)
                raise UserError(f"{where}: must be a mapping")
    named = ", ".join(str(each.file) for each in documents)
    raise UserError(f"{named}: {section}: there is no entry named {name!r}")


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
