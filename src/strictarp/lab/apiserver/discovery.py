"""`/version`, `/api` and `/apis`: what the server is and which kinds it has. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from strictarp import __version__
from strictarp.lab.apiserver.documents import Document
from strictarp.lab.apiserver.kinds import KINDS, Kind

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
HEALTH = ("/healthz", "/livez", "/readyz")


def document(path: str) -> Document | None:
    """The discovery document at a path, None if there is none."""
    here = path.rstrip("/")
    if here == "/version":
        return {"major": "1", "minor": "36", "gitVersion": f"v1.36.0+strictarp-{__version__}"}
    if here == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if here == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(each) for each in _groups()]}
    version = here.removeprefix("/apis/") if here.startswith("/apis/") else here.removeprefix("/api/")
    kinds = [kind for kind in KINDS.values() if kind.api_version == version]
    if kinds:
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version,
            "resources": list(_resources(kinds)),
        }
    if version in _groups():
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(version)}
    return None


def _groups() -> dict[str, str]:
    """Group → its version."""
    parted = (kind.api_version.partition("/") for kind in KINDS.values())
    return {group: version for group, slash, version in parted if slash}


def _group(name: str) -> Document:
    version = _groups()[name]
    one = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [one], "preferredVersion": one}


def _resources(kinds: Iterable[Kind]) -> Iterable[Document]:
    for kind in kinds:
        common: Document = {
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "singularName": kind.kind.lower(),
        }
        yield {"name": kind.plural, "verbs": VERBS, **common}
        if kind.has_status:
            yield {"name": f"{kind.plural}/status", "verbs": ["get", "patch", "update"], **common}
