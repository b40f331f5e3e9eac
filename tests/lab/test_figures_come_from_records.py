import math

from hypothesis import given
from hypothesis import strategies as st

from strictarp.lab import figures
from strictarp.lab.figures import Seen
from strictarp.lab.stream import Answer

VIP = "192.0.2.100"


def ok(ended: float, backend: str = "node1", started: float | None = None) -> Answer:
    return Answer(ended if started is None else started, ended, backend)


def lost(started: float) -> Answer:
    return Answer(started, started + 0.25, error="no answer in time")


def reply(asked: int, mac: str, at: float = 0.0, host: str = "") -> Seen:
    return Seen(at, host or mac, mac, 2, VIP, "0.0.0.0", asked)


def test_outage_is_the_longest_gap_between_successes_whatever_failed_in_between() -> None:
    answers = [ok(1.0), ok(1.02), lost(1.04), lost(1.3), ok(1.52), ok(1.54)]
    assert figures.outage_ms(answers) == 500.0


def test_outage_does_not_depend_on_the_order_of_the_records() -> None:
    answers = [ok(1.54), lost(1.04), ok(1.0), ok(1.52)]
    assert math.isclose(figures.outage_ms(answers), 520.0)


def test_outage_without_two_successes_is_endless() -> None:
    assert figures.outage_ms([ok(1.0), lost(1.1)]) == math.inf


@given(st.lists(st.floats(0, 1000), min_size=2))
def test_outage_lies_between_the_mean_gap_and_the_whole_span(times: list[float]) -> None:
    gap = figures.outage_ms([ok(time) for time in times])
    span = 1000 * (max(times) - min(times))
    assert span / (len(times) - 1) <= gap + 1e-6
    assert gap <= span + 1e-6


def test_answers_to_different_requests_are_not_simultaneous() -> None:
    frames = [reply(1, "a"), reply(2, "b"), reply(3, "b")]
    assert figures.max_simultaneous(frames, VIP) == 1


def test_two_macs_that_answer_one_request_count_as_two_however_late_the_second() -> None:
    frames = [reply(1, "a", at=0.0), reply(2, "a", at=0.05), reply(1, "b", at=3.0)]
    assert figures.max_simultaneous(frames, VIP) == 2


def test_one_mac_that_answers_twice_is_one_answerer() -> None:
    assert figures.max_simultaneous([reply(1, "a"), reply(1, "a")], VIP) == 1


def test_replies_for_other_addresses_and_to_other_askers_do_not_count() -> None:
    frames = [
        Seen(0.0, "node1", "a", 2, "192.0.2.11", "0.0.0.0", 1),
        Seen(0.0, "node1", "b", 2, VIP, "192.0.2.1", 0),
    ]
    assert figures.max_simultaneous(frames, VIP) == 0


def test_takeover_is_the_first_frame_in_which_another_speaks_for_the_vip_after_the_failure() -> None:
    frames = [
        reply(1, "other", at=1.0),
        reply(2, "old", at=3.0),
        Seen(2.5, "node2", "new", 1, VIP, VIP),
        reply(3, "new", at=2.6, host="node2"),
    ]
    found = figures.takeover(frames, VIP, "old", since=2.0)
    assert found is not None
    assert (found.at, found.host) == (2.5, "node2")


def test_nobody_took_over_when_only_the_old_owner_spoke() -> None:
    assert figures.takeover([reply(1, "old", at=3.0)], VIP, "old", since=2.0) is None


def test_requests_begun_after_the_takeover_that_failed_were_lost_to_the_dead_backend() -> None:
    answers = [lost(1.0), lost(2.1), ok(2.3, started=2.2), lost(2.4)]
    assert figures.lost_after(answers, 2.0) == 2


def test_answers_are_counted_for_each_backend() -> None:
    answers = [ok(1, "node1"), ok(2, "node2"), ok(3, "node1"), lost(4)]
    assert figures.per_backend(answers) == {"node1": 2, "node2": 1}


def test_announcements_to_all_and_to_one_host_are_no_request_with_the_vip_as_sender() -> None:
    announcement = Seen(0.0, "node1", "a", 1, VIP, VIP)
    to_client = Seen(0.0, "node3", "c", 1, VIP, "192.0.2.1")
    question = Seen(0.0, "node2", "b", 1, VIP, "192.0.2.200")
    assert figures.vip_as_sender([announcement, to_client, question], VIP, "192.0.2.200") == {"node2"}
