"""The kinds that the server has, and in what they differ."""

from __future__ import annotations

import msgspec

from strictarp.kube.model import KubeObject
from strictarp.kube.objects import RESOURCES

STATUS_KINDS = frozenset(
    {
        "Service",
        "Node",
        "Namespace",
        "Pod",
        "DaemonSet",
        "IPAddressPool",
        "L2Advertisement",
        "ServiceL2Status",
        "ConfigurationState",
    }
)
# Their strategies do not clear the status of a new object (pkg/registry/core/node, core/namespace).
KEEP_STATUS_ON_CREATE = frozenset({"Node", "Namespace"})
GENERATION_KINDS = frozenset(
    {
        "DaemonSet",
        "EndpointSlice",
        "IPAddressPool",
        "L2Advertisement",
        "ServiceL2Status",
        "ConfigurationState",
    }
)
# AllowUnconditionalUpdate is false: a replacement without resourceVersion is refused.
VERSION_REQUIRED = frozenset(
    {"Lease", "IPAddressPool", "L2Advertisement", "ServiceL2Status", "ConfigurationState", "AnnouncedAddress"}
)
# Fields besides metadata.name and metadata.namespace that the real server's field selectors know.
SELECTABLE: dict[str, tuple[str, ...]] = {
    "Pod": ("spec.nodeName", "status.phase", "status.podIP"),
    "Secret": ("type",),
    "Event": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "reason",
        "type",
    ),
    "Service": ("spec.clusterIP", "spec.type"),
}


class Kind(msgspec.Struct, frozen=True):
    """One kind: where it lives and which rules hold for it."""

    api_version: str
    plural: str
    kind: str
    namespaced: bool
    shape: type[KubeObject]

    @property
    def id(self) -> str:
        """Its name in the journal."""
        return f"{self.api_version}/{self.plural}"

    @property
    def custom(self) -> bool:
        """Whether a CustomResourceDefinition would define it."""
        return "." in self.api_version.partition("/")[0] and not self.api_version.partition("/")[0].endswith(
            ".k8s.io"
        )

    @property
    def has_status(self) -> bool:
        """Whether the status is written through the subresource only."""
        return self.kind in STATUS_KINDS

    @property
    def counts_generations(self) -> bool:
        """Whether metadata.generation counts changes of what is wanted."""
        return self.kind in GENERATION_KINDS


KINDS: dict[str, Kind] = {
    kind.id: kind
    for kind in (
        *(Kind(each.api_version, each.plural, each.kind, each.namespaced, each.type) for each in RESOURCES),
        Kind("metallb.io/v1beta1", "servicel2statuses", "ServiceL2Status", True, KubeObject),
    )
}
