"""When a key of a ConfigMap was last written, as `metadata.managedFields` tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def written_at(document: Mapping[str, object], key: str) -> str:
    """RFC 3339; empty if nothing tells. No later write of this key can have been.

    The API notes one time for all fields of a manager, so the write may be older than this, never younger.
    """
    metadata = document.get("metadata")
    entries = metadata.get("managedFields") if isinstance(metadata, Mapping) else None
    return max(_times(entries, key), default="") if isinstance(entries, list) else ""


def _times(entries: list[object], key: str) -> Iterator[str]:
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        fields, time = entry.get("fieldsV1"), entry.get("time")
        data = fields.get("f:data") if isinstance(fields, Mapping) else None
        if isinstance(data, Mapping) and f"f:{key}" in data and isinstance(time, str):
            yield time
