"""Where installers keep kube-proxy's settings on a node, and what the files say. Pure.

Only the mode and strictARP are taken out: these files hold tokens as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
import yaml

from strictarp.doctor.node.view import ProxySetting

Form = Literal["arguments", "kube-proxy-arg", "configuration", "k0s"]
MODE, STRICT = "proxy-mode", "ipvs-strict-arp"


class Place(msgspec.Struct, frozen=True):
    """A path (with globs), how it is written, and the agent that reads it when it starts."""

    pattern: str
    form: Form
    owner: str


PLACES = (
    Place("/etc/rancher/k3s/config.yaml", "kube-proxy-arg", "k3s"),
    Place("/etc/rancher/k3s/config.yaml.d/*.yaml", "kube-proxy-arg", "k3s"),
    Place("/etc/rancher/rke2/config.yaml", "kube-proxy-arg", "rke2"),
    Place("/etc/rancher/rke2/config.yaml.d/*.yaml", "kube-proxy-arg", "rke2"),
    Place("/var/snap/microk8s/current/args/kube-proxy", "arguments", "kubelite"),
    Place("/etc/kubernetes/manifests/kube-proxy*", "arguments", "kubelet"),
    Place("/etc/k0s/k0s.yaml", "k0s", "k0s"),
    Place(
        "/var/lib/kubelet/pods/*/volumes/kubernetes.io~configmap/kube-proxy/config.conf",
        "configuration",
        "kube-proxy",
    ),
)

_ARGUMENT = re.compile(r"--?(proxy-mode|ipvs-strict-arp)(?:[=\s\"',]+([\w-]+))?")


def read_setting(text: str, place: Place, *, file: str, changed: float = 0.0) -> ProxySetting | None:
    """What the file says; None when it says nothing of mode and strictARP, or cannot be read."""
    found = _READERS[place.form](text)
    if found is None:
        return None
    mode, strict = found
    return ProxySetting(file, place.owner, mode, strict, changed) if mode or strict is not None else None


_Said = tuple[str, bool | None]


def _arguments(text: str) -> _Said:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return _of(dict(_ARGUMENT.findall("\n".join(lines))))


def _of(found: Mapping[str, str]) -> _Said:
    strict = truth(found[STRICT] or "true") if STRICT in found else None
    return found.get(MODE, ""), strict


def truth(value: object) -> bool | None:
    """As strconv.ParseBool of Go, which reads kube-proxy's flags."""
    if isinstance(value, bool):
        return value
    text = str(value)
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    return False if text in ("0", "f", "F", "FALSE", "false", "False") else None


def _rancher(text: str) -> _Said | None:
    """`kube-proxy-arg`, a list or one word, also as `kube-proxy-arg+` (k3s: config.yaml.d)."""
    found: dict[str, str] = {}
    for document in _documents(text):
        for key, value in document.items():
            if str(key).rstrip("+") == "kube-proxy-arg":
                words = value if isinstance(value, list) else [value]
                for word in words:
                    name, equals, said = str(word).lstrip("-").partition("=")
                    found[name] = said if equals else "true"
    return _of(found)


def _configuration(text: str) -> _Said | None:
    """KubeProxyConfiguration."""
    for document in _documents(text):
        if document.get("kind") == "KubeProxyConfiguration":
            return _fields(document)
    return None


def _k0s(text: str) -> _Said | None:
    """ClusterConfig: spec.network.kubeProxy."""
    for document in _documents(text):
        found = _sub(_sub(_sub(document, "spec"), "network"), "kubeProxy")
        if found:
            return _fields(found)
    return None


def _fields(document: Mapping[object, object]) -> _Said:
    strict = _sub(document, "ipvs").get("strictARP")
    mode = document.get("mode")
    return mode if isinstance(mode, str) else "", strict if isinstance(strict, bool) else None


def _sub(document: Mapping[object, object], key: str) -> Mapping[object, object]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _documents(text: str) -> Iterator[Mapping[object, object]]:
    """The mappings of a YAML stream; a stream that is no YAML has none."""
    try:
        yield from [each for each in yaml.safe_load_all(text) if isinstance(each, dict)]
    except (yaml.YAMLError, ValueError, RecursionError):
        return


_READERS = {
    "arguments": _arguments,
    "kube-proxy-arg": _rancher,
    "configuration": _configuration,
    "k0s": _k0s,
}
