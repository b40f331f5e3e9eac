"""When a key of a ConfigMap was last written, as `metadata.managedFields` tells. Pure."""

from __future__ import annotations

import msgspec

from strictarp.kube.model import KubeObject, Metadata, Model, Resource


class ManagedKeys(Model, frozen=True):
    """The fields of a ConfigMap that one manager wrote: `f:data` holds `f:KEY` for each key."""

    data: dict[str, object] | None = msgspec.field(default=None, name="f:data")


class ManagedFields(Model, frozen=True):
    """An entry of metadata.managedFields."""

    time: str | None = None
    fields: ManagedKeys | None = msgspec.field(default=None, name="fieldsV1")


class ManagedMetadata(Metadata, frozen=True):
    """ObjectMeta with who wrote what."""

    managed_fields: tuple[ManagedFields, ...] | None = None


class ConfigMap(KubeObject, frozen=True):
    """core/v1 ConfigMap, as far as its managers are concerned."""

    metadata: ManagedMetadata = ManagedMetadata()


MANAGED_CONFIGMAPS = Resource("v1", "configmaps", ConfigMap)


def written_at(config: ConfigMap, key: str) -> str:
    """RFC 3339; empty if nothing tells. No later write of this key can have been.

    The API notes one time for all fields of a manager, so the write may be older than this, never younger.
    """
    times = (
        each.time
        for each in config.metadata.managed_fields or ()
        if each.fields is not None and f"f:{key}" in (each.fields.data or {})
    )
    return max((time for time in times if time), default="")
