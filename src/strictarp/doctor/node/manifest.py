"""The short-lived DaemonSet that reads every node, as a manifest; and the rights that it takes. Pure.

The pod reads and changes nothing. Of capabilities it has CAP_NET_ADMIN alone, for nfnetlink demands it even
for listing rules (net/netfilter/nfnetlink.c, nfnetlink_rcv); links, addresses, routes, sysctls, command lines
and files of root can be read without any. Rules of legacy arptables would need CAP_NET_RAW; the report says
so where there are some. It has no token of the API: its report is what it prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from strictarp.errors import UserError

NAMESPACE = "kube-system"
OWNER = "strictarp-doctor"
INSTANCE = "app.kubernetes.io/instance"
PREFIX = "strictarp-node-report-"
ROOT = "/host"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[\w][\w.:/@-]*", re.ASCII)


def document(image: str, name: str, *, namespace: str = NAMESPACE) -> dict[str, Any]:
    """The DaemonSet. name: PREFIX and a random suffix, so that two runs do not meet.

    Raises UserError for an image or a name that cannot be one.
    """
    if not _IMAGE.fullmatch(image):
        raise UserError(f"--image {image!r}: the name of an image that holds strictarp is expected", 64)
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r}: lower-case letters, digits and dashes are expected as a name", 64)
    labels = {
        "app.kubernetes.io/name": "strictarp-node-report",
        INSTANCE: name,
        "app.kubernetes.io/managed-by": OWNER,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {INSTANCE: name}},
            "template": {"metadata": {"labels": labels}, "spec": _pod(image)},
        },
    }


def _pod(image: str) -> dict[str, Any]:
    return {
        "hostNetwork": True,
        "hostPID": True,
        "dnsPolicy": "Default",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "node-report",
                "image": image,
                "command": ["strictarp", "node-report", "--root", ROOT, "--in-pod"],
                "env": [
                    {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                ],
                "resources": {
                    "requests": {"cpu": "20m", "memory": "64Mi"},
                    "limits": {"memory": "256Mi"},
                },
                "securityContext": {
                    "runAsUser": 0,
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
                    # SELinux keeps containers from the host's files; this type may read them.
                    "seLinuxOptions": {"type": "spc_t"},
                },
                "volumeMounts": [{"name": "host", "mountPath": ROOT, "readOnly": True}],
            }
        ],
        "volumes": [{"name": "host", "hostPath": {"path": "/", "type": "Directory"}}],
    }


def manifest(image: str, name: str, *, namespace: str = NAMESPACE) -> str:
    """The DaemonSet as YAML, with what to do with it. Raises UserError as `document`."""
    text = yaml.safe_dump(document(image, name, namespace=namespace), sort_keys=False, width=100)
    return (
        "# Reads every node for `strictarp doctor`; changes nothing. Delete it when the reports are there:\n"
        f"#   kubectl -n {namespace} get pods -l {INSTANCE}={name}\n"
        f"#   kubectl -n {namespace} logs POD > NODE.log     # for each pod\n"
        f"#   kubectl -n {namespace} delete daemonset {name}\n"
        f"{text}"
    )


RIGHTS: Mapping[str, tuple[str, ...]] = {
    "daemonsets.apps": ("create", "get", "delete"),
    "pods": ("list",),
    "pods/log": ("get",),
}
"""What `collect` does in the DaemonSet's namespace: resource → verbs."""
