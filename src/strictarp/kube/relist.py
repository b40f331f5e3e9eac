"""What a fresh list means for what was known: what changed meanwhile, and whether to believe a loss. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Generic, TypeVar

import msgspec

from strictarp.kube.model import KubeObject

T = TypeVar("T", bound=KubeObject)


class Delta(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """What really happened to one object, also when it was noticed late, by a list.

    `old` is None for a new object, `new` for a deleted one. An object that was deleted and made again has
    two: first the deletion, then the creation. Changes of fields that nobody here reads make none.
    """

    key: str
    old: T | None
    new: T | None


class Suspicion(msgspec.Struct, frozen=True, gc=False):
    """How a list that has lost much is treated.

    A server that was just restored, or a proxy in front of it, may answer with an empty list. If more than
    `share` of what was known is missing, the loss is believed only after `lists` further lists, `apart`
    seconds from one to the next, that miss that much too. Then it is believed: the doubt is bounded.

    If it was false all the same, no watch from its resourceVersion tells of the objects that it lacked. So
    after a loss that was believed in the end, and after a list without any object, the list is read again
    `again` seconds later, then after twice that, and so on up to `longest`.
    """

    share: float = 0.5
    lists: int = 3
    apart: float = 5.0
    again: float = 60.0
    longest: float = 480.0


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Whether to believe what is missing. If not, list again after `wait` seconds with `doubts` counted."""

    believed: bool
    doubts: int = 0
    wait: float = 0.0


def same(old: T, new: T) -> bool:
    """Whether two versions of an object mean the same: all fields that we read but resourceVersion."""
    if old.metadata.resource_version == new.metadata.resource_version:
        return old == new
    dated = msgspec.structs.replace(old.metadata, resource_version=new.metadata.resource_version)
    if dated != new.metadata:
        return False
    return msgspec.structs.replace(old, metadata=dated) == new


def changes(key: str, old: T | None, new: T) -> Iterator[Delta[T]]:
    """The deltas from one version to the next; none if they mean the same."""
    if old is None:
        yield Delta(key, None, new)
    elif old.metadata.uid != new.metadata.uid:
        yield Delta(key, old, None)
        yield Delta(key, None, new)
    elif not same(old, new):
        yield Delta(key, old, new)


def missing(known: Collection[str], listed: Collection[str], refused: Collection[str]) -> list[str]:
    """Keys that were known and are no longer there. One that is there but unreadable is not missing."""
    return [key for key in known if key not in listed and key not in refused]


def judge(known: int, lost: int, doubts: int, suspicion: Suspicion) -> Verdict:
    """Believe that `lost` of `known` objects are gone? `doubts` lists have been doubted before this one."""
    if lost == 0 or lost <= known * suspicion.share or doubts >= suspicion.lists:
        return Verdict(believed=True)
    return Verdict(believed=False, doubts=doubts + 1, wait=suspicion.apart)


def check_after(doubtful: int, suspicion: Suspicion) -> float:
    """Seconds until the list is read again, after so many in a row that were believed against the odds."""
    return min(suspicion.longest, suspicion.again * 2.0 ** min(doubtful - 1, 30)) if doubtful else math.inf


def by_key(items: Collection[T]) -> Mapping[str, T]:
    """The objects under their keys."""
    return {item.key: item for item in items}
