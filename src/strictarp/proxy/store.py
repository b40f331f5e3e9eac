"""The objects that planning reads, indexed, and which Services have to be planned again. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from strictarp.kube.objects import EndpointSlice, Service

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
FIRST = "default/kubernetes"
"""On a fresh node everything else waits for the API server's Service."""


def service_of(piece: EndpointSlice) -> str | None:
    """Key of the Service that a slice belongs to; None without its label."""
    name = (piece.metadata.labels or {}).get(SERVICE_NAME_LABEL)
    return f"{piece.metadata.namespace}/{name}" if name else None


class Store:
    """Feed it the old and new state of each object; `take` gives the Services to plan."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._slices: dict[str, dict[str, EndpointSlice]] = {}
        self._dirty: dict[str, None] = {}

    @property
    def services(self) -> Mapping[str, Service]:
        """All Services by key."""
        return self._services

    def __len__(self) -> int:
        """How many Services wait to be planned."""
        return len(self._dirty)

    def service(self, key: str, new: Service | None) -> None:
        """A Service appeared, changed or went."""
        if new is None:
            self._services.pop(key, None)
        else:
            self._services[key] = new
        self._dirty[key] = None

    def slice(self, key: str, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """An EndpointSlice appeared, changed or went; it may even have moved to another Service."""
        before, after = service_of(old) if old else None, service_of(new) if new else None
        if before is not None and before != after and before in self._slices:
            self._slices[before].pop(key, None)
            if not self._slices[before]:
                del self._slices[before]
            self._dirty[before] = None
        if after is not None and new is not None:
            self._slices.setdefault(after, {})[key] = new
            self._dirty[after] = None

    def mark(self, *services: str) -> None:
        """Plan these Services again, although their objects did not change."""
        self._dirty.update(dict.fromkeys(services))

    def mark_all(self) -> None:
        """Plan every Service again: something changed that all of them depend on."""
        self.mark(*self._services)

    def slices(self, service: str) -> list[EndpointSlice]:
        """The EndpointSlices of a Service, in the order of their names."""
        found = self._slices.get(service, {})
        return [found[key] for key in sorted(found)]

    def take(self, limit: int) -> list[str]:
        """At most `limit` Services that wait, oldest first; default/kubernetes before others, and alone."""
        if FIRST in self._dirty:
            del self._dirty[FIRST]
            return [FIRST]
        taken = list(self._dirty)[:limit]
        for key in taken:
            del self._dirty[key]
        return taken
