"""What all structs of API objects are made of, and where a kind lives. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

import msgspec


class Model(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Base of all API structs: immutable, camelCase on the wire, absent fields at their default."""


class OwnerReference(Model, frozen=True):
    """Who owns an object."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class Metadata(Model, frozen=True):
    """The parts of ObjectMeta that somebody here reads."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class KubeObject(Model, frozen=True):
    """What all objects have."""

    metadata: Metadata = Metadata()

    @property
    def key(self) -> str:
        """`namespace/name`, or the bare name of an object without namespace."""
        meta = self.metadata
        return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


class Condition(Model, frozen=True):
    """A condition of an object."""

    type: str
    status: str = "Unknown"
    observed_generation: int | None = None
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None


class SelectorRequirement(Model, frozen=True):
    """One expression of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None


class LabelSelector(Model, frozen=True):
    """A label selector; empty matches everything."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[SelectorRequirement, ...] | None = None


T = TypeVar("T", bound=KubeObject)
Mend: TypeAlias = Callable[[object, type[T]], tuple[T | None, list[str]]]
"""Makes an object of a document of which parts are wrong, without them; and says which (`field: reason`)."""


class Resource(Generic[T]):
    """Where a kind lives in the API and which struct it decodes to.

    `keep`: what of an object is kept, applied to each as soon as it is decoded; None for all of it. `mend`:
    what to do with an object that does not decode, else it is refused as a whole.
    """

    __slots__ = ("api_version", "keep", "kind", "mend", "namespaced", "plural", "type")

    def __init__(self, api_version: str, plural: str, type_: type[T], *, namespaced: bool = True) -> None:
        self.api_version = api_version
        self.plural = plural
        self.kind = type_.__name__
        self.type = type_
        self.namespaced = namespaced
        self.keep: Callable[[T], T] | None = None
        self.mend: Mend[T] | None = None

    def keeping(self, keep: Callable[[T], T]) -> Resource[T]:
        """The same, for who needs only some of each object."""
        made = self._again()
        made.keep = keep
        return made

    def mended(self, mend: Mend[T]) -> Resource[T]:
        """The same, for who uses what is sound of an object."""
        made = self._again()
        made.mend = mend
        return made

    def _again(self) -> Resource[T]:
        made = Resource(self.api_version, self.plural, self.type, namespaced=self.namespaced)
        made.keep, made.mend = self.keep, self.mend
        return made

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection, or of one object; an empty namespace means all of them."""
        root = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [root + self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)

    def __repr__(self) -> str:
        return f"Resource({self.api_version}/{self.plural})"
