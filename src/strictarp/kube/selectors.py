"""Label and field selectors: their text form, and matching. Pure.

Semantics of apimachinery pkg/labels and pkg/fields: NotIn and != also match where the label is absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from strictarp.kube.model import LabelSelector, SelectorRequirement

OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})
_WITH_VALUES = frozenset({"In", "NotIn"})
_KEY = r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*", re.ASCII)
_EQUALS = re.compile(rf"\s*({_KEY})\s*(==|=|!=)\s*({_VALUE})\s*", re.ASCII)
_EXISTS = re.compile(rf"\s*(!?)\s*({_KEY})\s*", re.ASCII)
_IS_VALUE = re.compile(_VALUE, re.ASCII)
_IS_KEY = re.compile(_KEY, re.ASCII)
_FIELD = re.compile(r"\s*([A-Za-z0-9.]+)(==|=|!=)([^,=!]*)", re.ASCII)


class SelectorError(ValueError):
    """A selector that cannot be read; the message names the part."""


class FieldTerm(msgspec.Struct, frozen=True, gc=False):
    """One term of a field selector."""

    field: str
    value: str
    equal: bool


def parse_labels(text: str) -> tuple[SelectorRequirement, ...]:
    """The text form, such as `app=web,tier in (a,b),!old`; raises SelectorError."""
    if not text.strip():
        return ()
    return tuple(_term(part) for part in _split(text))


def _split(text: str) -> list[str]:
    """Parts between the commas that are outside of parentheses."""
    return re.split(r",(?![^(]*\))", text)


def _term(part: str) -> SelectorRequirement:
    if found := _SET.fullmatch(part):
        values = tuple(value.strip() for value in found[4].split(","))
        if not all(_IS_VALUE.fullmatch(value) for value in values):
            raise SelectorError(f"label selector: {part.strip()!r}: not a label value")
        return SelectorRequirement(found[1], "In" if found[3] == "in" else "NotIn", values)
    if found := _EQUALS.fullmatch(part):
        return SelectorRequirement(found[1], "NotIn" if found[3] == "!=" else "In", (found[4],))
    if found := _EXISTS.fullmatch(part):
        return SelectorRequirement(found[2], "DoesNotExist" if found[1] else "Exists")
    raise SelectorError(f"label selector: cannot read {part.strip()!r}")


def parse_fields(text: str) -> tuple[FieldTerm, ...]:
    """The text form, such as `metadata.name=web,metadata.namespace!=default`; raises SelectorError."""
    if not text.strip():
        return ()
    terms = []
    for part in text.split(","):
        found = _FIELD.fullmatch(part)
        if found is None:
            raise SelectorError(f"field selector: cannot read {part.strip()!r}")
        terms.append(FieldTerm(found[1], found[3].strip(), equal=found[2] != "!="))
    return tuple(terms)


def matches(requirements: Sequence[SelectorRequirement], labels: Mapping[str, str] | None) -> bool:
    """Whether labels meet all requirements; none are met by everything. An unknown operator meets nothing."""
    given = labels or {}
    return all(_meets(requirement, given) for requirement in requirements)


def _meets(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in (requirement.values or ())
        case "NotIn":
            return value is None or value not in (requirement.values or ())
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False


def selects(selector: LabelSelector, labels: Mapping[str, str] | None) -> bool:
    """Whether a LabelSelector selects an object with these labels; an empty one selects all."""
    given = labels or {}
    wanted = selector.match_labels or {}
    if any(given.get(name) != value for name, value in wanted.items()):
        return False
    return matches(selector.match_expressions or (), given)


def selects_any(selectors: Iterable[LabelSelector], labels: Mapping[str, str] | None) -> bool:
    """Whether one of the selectors selects such an object; false without selectors."""
    return any(selects(each, labels) for each in selectors)


def fault(selector: LabelSelector) -> str | None:
    """What is wrong with a LabelSelector, naming the field and how to mend it; None if it is sound.

    Refuses what metav1.LabelSelectorAsSelector refuses, and the repetitions that MetalLB refuses.
    """
    for key, value in sorted((selector.match_labels or {}).items()):
        if not _IS_KEY.fullmatch(key):
            return f"matchLabels: {key!r} is no label key"
        if not _IS_VALUE.fullmatch(value):
            return f"matchLabels: {value!r} is no label value"
    expressions = selector.match_expressions or ()
    for index, each in enumerate(expressions):
        where = f"matchExpressions[{index}]"
        if (wrong := _expression_fault(each)) is not None:
            return f"{where}.{wrong}"
        if _sorted_values(each) in map(_sorted_values, expressions[:index]):
            return f"{where}: the same expression is listed twice; list it once"
    return None


def _expression_fault(each: SelectorRequirement) -> str | None:
    if not _IS_KEY.fullmatch(each.key):
        return f"key: {each.key!r} is no label key"
    if each.operator not in OPERATORS:
        return f"operator: {each.operator!r} is none of {', '.join(sorted(OPERATORS))}"
    wrong = _values_fault(each)
    return f"values: {wrong}" if wrong else None


def _values_fault(each: SelectorRequirement) -> str | None:
    values = each.values or ()
    if each.operator not in _WITH_VALUES:
        return f"{each.operator} takes no values" if values else None
    if not values:
        return f"{each.operator} needs at least one value"
    if len(set(values)) != len(values):
        return "a value is listed twice; list it once"
    odd = next((value for value in values if not _IS_VALUE.fullmatch(value)), None)
    return None if odd is None else f"{odd!r} is no label value"


def _sorted_values(each: SelectorRequirement) -> SelectorRequirement:
    return SelectorRequirement(each.key, each.operator, tuple(sorted(each.values or ())))


def canonical(selector: LabelSelector) -> LabelSelector:
    """The form in which MetalLB compares selectors: the values of each expression in order."""
    expressions = tuple(map(_sorted_values, selector.match_expressions or ()))
    return LabelSelector(selector.match_labels or {}, expressions)


def matches_fields(terms: Sequence[FieldTerm], value_of: Callable[[str], str]) -> bool:
    """Whether an object meets all terms; `value_of` gives the text of a field, empty if absent."""
    return all((value_of(term.field) == term.value) == term.equal for term in terms)
