"""From what was seen to what is reported. Pure.

A sighting that is a consequence of another one is not reported; its code is told with the one at the root.
What could not be looked at is part of the answer: nothing found is not the same as nothing seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from strictarp.doctor.check import Check, Finding, Part, Severity, Sighting
from strictarp.doctor.evidence import NODE, VIP, Evidence

EXIT_CLEAN, EXIT_WARNINGS, EXIT_ERRORS, EXIT_CANNOT_LOOK = 0, 1, 2, 3
_NOT_ASKED = {
    Part.CLUSTER: "it was not asked for (--kubeconfig)",
    Part.NODES: "no way to them was given (--on-this-node, --node-reports or --apply)",
    Part.WIRE: "it was not asked for (--wire)",
}
_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


class Unlooked(msgspec.Struct, frozen=True, rename="camel"):
    """Something that was not looked at, why, and the checks that could not tell for it."""

    what: str
    reason: str
    codes: tuple[str, ...] = ()


class Diagnosis(msgspec.Struct, frozen=True, rename="camel"):
    """The whole answer. checks: how many could look. findings: the worst first, then by code and subject."""

    exit_code: int
    checks: int
    findings: tuple[Finding, ...]
    not_looked_at: tuple[Unlooked, ...]


def diagnose(evidence: Evidence, checks: Sequence[Check], asked: frozenset[Part]) -> Diagnosis:
    """Apply the checks. asked: the parts that somebody asked for; not to see one of those is exit code 3."""
    able = [check for check in checks if not _missing(check, evidence)]
    findings = reported(
        {check.code: tuple(dict.fromkeys(check.look(evidence))) for check in able},
        {check.code: check for check in checks},
    )
    unlooked = _unlooked(evidence, checks)
    code = exit_code(findings, seen_all=bool(able) and not _blind_to(evidence, checks, asked))
    return Diagnosis(code, len(able), findings, unlooked)


def exit_code(findings: Iterable[Finding], *, seen_all: bool) -> int:
    """2 with an error; else 3 if not all that was asked for could be seen; else 1 with a warning; else 0.

    An error stays one whatever else was not seen; without one, what was not seen may hide one.
    """
    severities = {each.severity for each in findings}
    if Severity.ERROR in severities:
        return EXIT_ERRORS
    if not seen_all:
        return EXIT_CANNOT_LOOK
    return EXIT_WARNINGS if Severity.WARNING in severities else EXIT_CLEAN


# --- causes and consequences --------------------------------------------------------------------------------


def reported(sightings: Mapping[str, Sequence[Sighting]], checks: Mapping[str, Check]) -> tuple[Finding, ...]:
    """The sightings, by code, that no other one explains; each with the codes that it explains."""
    explained: dict[tuple[str, Sighting], list[tuple[str, Sighting]]] = {}
    for code, seen in sightings.items():
        check = checks[code]
        by_subject = _by_subject(check, sightings)
        for each in seen:
            causes = list(by_subject.get(each.subject, ()))
            causes += _explaining(check, each, sightings)
            if causes:
                explained[code, each] = causes
    consequences: dict[tuple[str, Sighting], set[str]] = {}
    for effect in explained:
        for root in _roots(effect, explained):
            consequences.setdefault(root, set()).add(effect[0])
    found = [
        _finding(checks[code], each, consequences.get((code, each), set()))
        for code, seen in sightings.items()
        for each in seen
        if (code, each) not in explained
    ]
    return tuple(sorted(found, key=lambda each: (_RANK[each.severity], each.code, each.subject, each.seen)))


def _by_subject(
    check: Check, sightings: Mapping[str, Sequence[Sighting]]
) -> dict[str, list[tuple[str, Sighting]]]:
    """Subject → the sightings of this check's causes that are about it."""
    found: dict[str, list[tuple[str, Sighting]]] = {}
    for code in check.causes:
        for cause in sightings.get(code, ()):
            for subject in {cause.subject, *cause.affects}:
                found.setdefault(subject, []).append((code, cause))
    return found


def _explaining(
    check: Check, effect: Sighting, sightings: Mapping[str, Sequence[Sighting]]
) -> list[tuple[str, Sighting]]:
    if check.explains is None:
        return []
    return [
        (code, cause)
        for code in check.causes
        for cause in sightings.get(code, ())
        if check.explains(cause, effect)
    ]


def _roots(
    effect: tuple[str, Sighting], explained: Mapping[tuple[str, Sighting], list[tuple[str, Sighting]]]
) -> set[tuple[str, Sighting]]:
    """The causes at the end of all chains. Chains end: no code causes itself (a test of the registry)."""
    found, waiting, seen = set(), [effect], {effect}
    while waiting:
        for cause in explained[waiting.pop()]:
            if cause in seen:
                continue
            seen.add(cause)
            if cause in explained:
                waiting.append(cause)
            else:
                found.add(cause)
    return found


def _finding(check: Check, seen: Sighting, consequences: Iterable[str]) -> Finding:
    return Finding(
        check.code,
        check.severity,
        check.title,
        seen.subject,
        seen.seen,
        check.why,
        seen.mend,
        seen.affects,
        tuple(sorted(consequences)),
    )


# --- what was not seen --------------------------------------------------------------------------------------


def _absent(part: Part, evidence: Evidence) -> bool:
    match part:
        case Part.CLUSTER:
            return evidence.cluster is None
        case Part.NODES:
            return not evidence.nodes
        case Part.WIRE:
            return evidence.wire is None


def _missing_parts(check: Check, evidence: Evidence) -> list[Part]:
    return [part for part in Part if part in check.needs and _absent(part, evidence)]


def _missing(check: Check, evidence: Evidence) -> list[str]:
    """The parts, else the kinds, for want of which a check cannot tell."""
    parts = [part.value for part in _missing_parts(check, evidence)]
    return parts or sorted(kind for kind in check.reads if kind in evidence.blind)


def _blind_to(evidence: Evidence, checks: Iterable[Check], asked: frozenset[Part]) -> bool:
    """Something that was asked for could not be seen: a part, a node, or a kind that a check reads."""
    for check in checks:
        parts = _missing_parts(check, evidence)
        if asked.intersection(parts) or (check.needs <= asked and not parts and _missing(check, evidence)):
            return True
    for part, keys in ((Part.NODES, NODE), (Part.WIRE, VIP)):
        if part in asked and any(key.startswith(keys) for key in evidence.blind):
            return True
    return any(part.value in evidence.blind for part in asked)


def _unlooked(evidence: Evidence, checks: Sequence[Check]) -> tuple[Unlooked, ...]:
    codes: dict[str, list[str]] = {}
    for check in checks:
        for what in _missing(check, evidence):
            codes.setdefault(what, []).append(check.code)
    whats = dict.fromkeys((*(part.value for part in Part), *sorted({*codes, *evidence.blind})))
    return tuple(
        Unlooked(what, evidence.blind.get(what) or _NOT_ASKED[Part(what)], tuple(codes.get(what, ())))
        for what in whats
        if what in codes or what in evidence.blind
    )
