"""From evidence to findings: causes, blindness, exit codes."""

from collections.abc import Iterable

import pytest

from strictarp.doctor.check import CLUSTER, NODES, WIRE, Check, Part, Severity, Sighting
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.diagnosis import Diagnosis, diagnose
from strictarp.doctor.evidence import Evidence, NodeView
from strictarp.doctor.wire_view import WireView

EVERYTHING = Evidence(ClusterView(), {"n1": NodeView("n1")}, WireView())
ALL = frozenset(Part)


def seen(subject: str, affects: Iterable[str] = ()) -> Sighting:
    return Sighting(subject, "seen", "mend", tuple(affects))


def check(
    code: str,
    *sightings: Sighting,
    severity: Severity = Severity.ERROR,
    needs: frozenset[Part] = CLUSTER,
    **more: object,
) -> Check:
    return Check(code, code, severity, "Why.", needs, lambda _: sightings, **more)  # type: ignore[arg-type]


def look(*checks: Check, evidence: Evidence = EVERYTHING, asked: frozenset[Part] = ALL) -> Diagnosis:
    return diagnose(evidence, checks, asked)


def told(diagnosis: Diagnosis) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(each.code, each.subject, each.consequences) for each in diagnosis.findings]


def test_a_consequence_on_the_same_subject_is_not_told() -> None:
    found = look(
        check("SA701", seen("VIP 192.0.2.1"), seen("VIP 192.0.2.2"), causes=("SA601",)),
        check("SA601", seen("VIP 192.0.2.1")),
    )
    assert told(found) == [("SA601", "VIP 192.0.2.1", ("SA701",)), ("SA701", "VIP 192.0.2.2", ())]


def test_a_cause_explains_what_it_affects() -> None:
    found = look(
        check("SA701", seen("VIP 192.0.2.1"), causes=("SA101",)),
        check("SA101", seen("cluster", affects=["VIP 192.0.2.1"])),
    )
    assert told(found) == [("SA101", "cluster", ("SA701",))]


def test_a_cause_may_explain_by_a_rule_of_its_own() -> None:
    found = look(
        check("SA701", seen("a"), seen("b"), causes=("SA101",), explains=lambda _, own: own.subject == "a"),
        check("SA101", seen("cluster")),
    )
    assert told(found) == [("SA101", "cluster", ("SA701",)), ("SA701", "b", ())]


def test_a_chain_of_causes_ends_at_the_root() -> None:
    found = look(
        check("SA701", seen("a"), causes=("SA601",)),
        check("SA601", seen("a"), causes=("SA501",)),
        check("SA501", seen("a")),
    )
    assert told(found) == [("SA501", "a", ("SA601", "SA701"))]


def test_a_cause_that_was_not_found_explains_nothing() -> None:
    found = look(check("SA701", seen("a"), causes=("SA601",)), check("SA601"))
    assert told(found) == [("SA701", "a", ())]


def test_the_worst_comes_first() -> None:
    found = look(
        check("SA001", seen("b"), severity=Severity.INFO),
        check("SA002", seen("b"), seen("a"), severity=Severity.ERROR),
        check("SA003", seen("a"), severity=Severity.WARNING),
    )
    assert [(each.code, each.subject) for each in found.findings] == [
        ("SA002", "a"),
        ("SA002", "b"),
        ("SA003", "a"),
        ("SA001", "b"),
    ]


@pytest.mark.parametrize(
    ("severity", "code"), [(Severity.INFO, 0), (Severity.WARNING, 1), (Severity.ERROR, 2), (None, 0)]
)
def test_the_exit_code_follows_the_worst(severity: Severity | None, code: int) -> None:
    checks = [check("SA001", seen("a"), severity=severity)] if severity else [check("SA001")]
    assert look(*checks).exit_code == code


class TestWhatWasNotSeen:
    def test_a_part_that_was_asked_for_and_not_seen_is_exit_3(self) -> None:
        evidence = Evidence(cluster=ClusterView(), blind={"wire": "needs CAP_NET_RAW"})
        found = look(check("SA001"), check("SA701", needs=WIRE), evidence=evidence, asked=CLUSTER | WIRE)
        assert found.exit_code == 3
        assert [(each.what, each.reason, each.codes) for each in found.not_looked_at] == [
            ("wire", "needs CAP_NET_RAW", ("SA701",))
        ]

    def test_a_part_that_nobody_asked_for_is_told_and_no_more(self) -> None:
        evidence = Evidence(cluster=ClusterView())
        found = look(check("SA001"), check("SA701", needs=WIRE), evidence=evidence, asked=CLUSTER)
        assert (found.exit_code, found.checks) == (0, 1)
        assert [(each.what, each.reason) for each in found.not_looked_at] == [
            ("wire", "it was not asked for (--wire)")
        ]

    def test_an_error_outranks_it_and_a_warning_does_not(self) -> None:
        for severity, code in ((Severity.ERROR, 2), (Severity.WARNING, 3)):
            evidence = Evidence(cluster=ClusterView(), blind={"wire": "no"})
            found = look(
                check("SA001", seen("a"), severity=severity),
                check("SA701", needs=WIRE),
                evidence=evidence,
                asked=CLUSTER | WIRE,
            )
            assert found.exit_code == code

    def test_nothing_seen_at_all_is_exit_3(self) -> None:
        found = look(check("SA001"), evidence=Evidence(blind={"cluster": "no answer"}), asked=CLUSTER)
        assert (found.exit_code, found.checks) == (3, 0)

    def test_a_node_that_was_asked_for_and_is_missing_is_exit_3(self) -> None:
        evidence = Evidence(ClusterView(), {"n1": NodeView("n1")}, blind={"node n2": "no report"})
        found = look(check("SA201", needs=NODES), evidence=evidence, asked=NODES)
        assert found.exit_code == 3
        assert [each.what for each in found.not_looked_at] == ["node n2"]

    def test_a_kind_that_may_not_be_read_stops_those_checks_alone_that_read_it(self) -> None:
        evidence = Evidence(ClusterView(), blind={"secrets": "forbidden"})
        found = look(
            check("SA501", seen("a"), reads=frozenset({"secrets"})),
            check("SA502", seen("b"), severity=Severity.INFO),
            evidence=evidence,
            asked=CLUSTER,
        )
        assert [each.code for each in found.findings] == ["SA502"]
        assert [(each.what, each.codes) for each in found.not_looked_at] == [("secrets", ("SA501",))]
        assert found.exit_code == 3

    def test_a_check_of_two_parts_waits_for_both(self) -> None:
        both = check("SA701", seen("a"), needs=CLUSTER | NODES)
        found = look(both, check("SA001"), evidence=Evidence(ClusterView()), asked=CLUSTER)
        assert (found.findings, found.exit_code) == ((), 0)
