"""What runs in a cluster, by DaemonSets and static pods: programs, arguments, environments. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec

from strictarp.cluster.signs import flag
from strictarp.doctor.kinds import Container, DaemonSet, Pod

MIRROR = "kubernetes.io/config.mirror"
"""Annotation of the API's picture of a static pod."""


class Workload(msgspec.Struct, frozen=True):
    """A DaemonSet, or a static pod: `title` for people, and the containers that it runs."""

    title: str
    namespace: str
    name: str
    containers: tuple[Container, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    def runs(self, *programs: str) -> Container | None:
        """The container whose image is one of these programs (the last part of an image's name)."""
        return next((each for each in self.containers if program(each.image) in programs), None)

    def strictarp(self, command: str) -> Container | None:
        """The container that runs `strictarp COMMAND`, by its arguments or its image's name."""
        for each in self.containers:
            said = [word.rpartition("/")[2] for word in words(each)]
            named = program(each.image)
            asked = command in said or self.name.endswith(command)
            if ("strictarp", command) in pairwise(said) or named == f"strictarp-{command}":
                return each
            if named == "strictarp" and asked:
                return each
        return None


def workloads(daemonsets: Iterable[DaemonSet], pods: Iterable[Pod]) -> tuple[Workload, ...]:
    """All DaemonSets that want a pod somewhere, and all static pods."""
    found = [
        _workload("DaemonSet", each, each.spec.template.spec.containers)
        for each in daemonsets
        # 0 of observed_generation: nobody has counted yet.
        if each.status.desired_number_scheduled or not each.status.observed_generation
    ]
    found += [
        _workload("static pod", each, each.spec.containers)
        for each in pods
        if MIRROR in (each.metadata.annotations or {})
    ]
    return tuple(sorted(found, key=lambda each: each.title))


def _workload(kind: str, source: DaemonSet | Pod, containers: tuple[Container, ...] | None) -> Workload:
    meta = source.metadata
    labels = tuple(sorted((meta.labels or {}).items()))
    return Workload(f"{kind} {source.key}", meta.namespace, meta.name, containers or (), labels)


def program(image: str) -> str:
    """`registry/path/name:tag@digest` → `name`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def words(container: Container) -> tuple[str, ...]:
    """Command and arguments, in order."""
    return (*(container.command or ()), *(container.args or ()))


def setting(container: Container, name: str, variable: str = "") -> str | None:
    """The value of a flag, else of an environment variable; None where neither says anything."""
    value = flag(words(container), name) if name else None
    return value if value is not None else env(container, variable)


def env(container: Container, name: str) -> str | None:
    """The value of an environment variable; empty for one that comes from elsewhere, None without it."""
    found = [each.value or "" for each in container.env or () if each.name == name]
    return found[-1] if found else None


def is_true(value: str | None) -> bool:
    """As Go's strconv.ParseBool reads it."""
    return value in {"1", "t", "T", "true", "TRUE", "True"}


def of_programs(all_of_them: Iterable[Workload], *programs: str) -> Iterator[tuple[Workload, Container]]:
    """The workloads that run one of these programs, with the container that does."""
    for each in all_of_them:
        if (container := each.runs(*programs)) is not None:
            yield each, container
