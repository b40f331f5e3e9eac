"""A thousand addresses whose owner falls silent at once."""

from collections import Counter

from strictarp.speaker.actions import Kind
from strictarp.speaker.settings import SECOND
from support.speakers import SETTINGS, Table

VIPS = [bytes((203, 0, 112 + number // 250, number % 250)) for number in range(1000)]


def test_claims_begin_in_portions_and_all_addresses_are_answered_for_within_a_second() -> None:
    table = Table(("a", "b"), vips=VIPS).settled()
    table.after(2 * SECOND)
    owned = sum(table.owners(vip) == ["a"] for vip in VIPS)
    assert owned > 300
    died = table.clock.now
    table.kill("a")
    table.after(SECOND)
    assert all(table.owners(vip) == ["b"] for vip in VIPS)
    begun = [time for time, _, report in table.reports if report.kind is Kind.CLAIM_STARTED and time > died]
    assert len(begun) == owned
    assert max(Counter(begun).values()) <= SETTINGS.claims_at_once
