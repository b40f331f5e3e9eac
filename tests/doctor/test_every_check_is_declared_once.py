"""The registry: codes are unique and documented, and no problem is its own consequence."""

import re
from collections import Counter
from pathlib import Path

import pytest

from strictarp.doctor.check import Check, Severity
from strictarp.doctor.registry import AREAS, CHECKS, area, chosen
from strictarp.errors import UserError

BY_CODE = {check.code: check for check in CHECKS}


def test_no_code_is_used_twice() -> None:
    assert [code for code, count in Counter(check.code for check in CHECKS).items() if count > 1] == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.code)
def test_each_says_what_why_and_by_what_it_may_be_caused(check: Check) -> None:
    assert re.fullmatch(r"SA[0-7]\d\d", check.code)
    assert check.needs
    assert check.title
    assert check.title[-1] != "."
    assert check.why.endswith(".")
    assert set(check.causes) <= set(BY_CODE)


def test_no_problem_is_its_own_consequence() -> None:
    def reached(code: str, seen: frozenset[str]) -> None:
        assert code not in seen, f"{code} causes itself by way of {sorted(seen)}"
        for cause in BY_CODE[code].causes:
            reached(cause, seen | {code})

    for code in BY_CODE:
        reached(code, frozenset())


def test_each_code_is_named_by_a_test_of_its_own() -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*checks_*.py"))
    assert [code for code in BY_CODE if f'"{code}"' not in tests] == []


def test_each_first_digit_has_a_subject() -> None:
    assert all(area(check.code) in AREAS.values() for check in CHECKS)


def test_a_code_that_there_is_not_is_told() -> None:
    with pytest.raises(UserError, match="SA999: there is no such check"):
        chosen(["SA999"])


def test_nothing_is_left_out_for_a_lesser_cause() -> None:
    """A warning that hides an error would make the exit code say that there is none."""
    rank = {Severity.ERROR: 2, Severity.WARNING: 1, Severity.INFO: 0}
    weak = [
        (check.code, cause)
        for check in CHECKS
        for cause in check.causes
        if rank[BY_CODE[cause].severity] < rank[check.severity]
    ]
    assert weak == []
