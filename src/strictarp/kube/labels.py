"""Label selectors as Kubernetes matches them (apimachinery labels.Requirement.Matches). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from strictarp.kube.objects import LabelSelector, SelectorRequirement


def matches(selector: LabelSelector, labels: Mapping[str, str] | None) -> bool:
    """All parts of the selector hold for the labels; an empty selector matches everything.

    An operator that is not known matches nothing, so that a mistake narrows and never widens.
    """
    have = labels or {}
    wanted = selector.match_labels or {}
    if any(have.get(key) != value for key, value in wanted.items()):
        return False
    return all(_holds(each, have) for each in selector.match_expressions or ())


def matches_any(selectors: Iterable[LabelSelector], labels: Mapping[str, str] | None) -> bool:
    """One of the selectors matches; false without selectors."""
    return any(matches(each, labels) for each in selectors)


def _holds(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    key, values = requirement.key, requirement.values or ()
    match requirement.operator:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False
