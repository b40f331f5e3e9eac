from strictarp.lab import judging
from strictarp.lab.figures import Seen, Witnessed
from strictarp.lab.holding import Broken, Held
from strictarp.lab.judging import Failure, Figures, Recorded, figures_of, judge
from strictarp.lab.playing import failures
from strictarp.lab.scenario import Bound, Expected, Scenario, Wait
from strictarp.lab.stream import Answer

VIP = "192.0.2.100"
NODES = frozenset({"node1", "node2", "node3"})


def reply(at: float, host: str, asked: int) -> Seen:
    return Seen(at, host, f"mac-of-{host}", 2, VIP, "0.0.0.0", asked)


def recorded(frames: list[Seen], *, requests: int, **rest: object) -> Recorded:
    answers = (Answer(0, 0.1), Answer(1, 1.1), Answer(1.2, 1.4, error="no answer in time"), Answer(1.5, 1.6))
    values = {"vip": VIP, "began": 0.0, "ended": 2.0, "nodes": NODES, "answers": answers, **rest}
    return Recorded(witnessed=Witnessed(requests, tuple(frames)), **values)  # type: ignore[arg-type]


def test_an_owner_that_dies_is_one_move_and_one_silence() -> None:
    frames = [reply(0.1, "node1", 1), reply(0.5, "node1", 2), reply(1.2, "node2", 9), reply(1.9, "node2", 10)]
    found = figures_of(recorded(frames, requests=10))
    assert (found.outage_ms, found.unanswered_ms) == (1000, 700)
    assert (found.answerers, found.moves, found.missed, found.failed) == (1, 1, 6, 1)
    assert found.resets is None


def test_silence_until_the_end_counts() -> None:
    assert figures_of(recorded([reply(0.1, "node1", 1)], requests=1)).unanswered_ms == 1900
    assert figures_of(recorded([], requests=5)).unanswered_ms == 2000


def test_two_nodes_that_answer_one_question_are_seen_but_not_while_the_segment_is_divided() -> None:
    frames = [reply(0.5, "node1", 1), reply(0.6, "node2", 1), reply(0.7, "node2", 2)]
    assert figures_of(recorded(frames, requests=2)).answerers == 2
    assert figures_of(recorded(frames, requests=2)).moves == 0
    assert figures_of(recorded(frames, requests=2, divided=((0.0, 0.6),))).answerers == 1


def test_a_foreign_host_is_no_answerer_and_its_answer_is_none() -> None:
    found = figures_of(recorded([reply(0.5, "stranger", 1), reply(0.5, "node1", 2)], requests=2))
    assert (found.answerers, found.missed) == (1, 1)


def test_answers_after_waking_count_until_the_node_claims_anew() -> None:
    probe = Seen(1.5, "node1", "m", 1, "0.0.0.0", VIP)
    announced = Seen(1.3, "node1", "m", 1, VIP, VIP)
    frames = [reply(0.9, "node1", 1), reply(1.2, "node1", 2), announced, probe, reply(1.7, "node1", 3)]
    found = figures_of(recorded(frames, requests=3, woken=(("node1", 1.0),)))
    assert found.answers_after_waking == 2
    assert figures_of(recorded(frames, requests=3, woken=(("node2", 1.0),))).answers_after_waking == 0


def test_connections_that_broke_are_resets() -> None:
    held = Held(20, 100, 3.0, (Broken(1.0, "Connection reset by peer"),))
    assert figures_of(recorded([], requests=0, held=held)).resets == 1


def test_what_failed_and_what_broke_is_told_with_the_time_that_logs_have() -> None:
    held = Held(20, 100, 3.0, (Broken(1.0, "Connection reset by peer"),))
    assert failures(recorded([], requests=0, held=held), wall=1_700_000_000.0) == (
        Failure("2023-11-14T22:13:21.400+00:00", "no answer in time", since="2023-11-14T22:13:21.200+00:00"),
        Failure("2023-11-14T22:13:21.000+00:00", "Connection reset by peer"),
    )


def figures(outage: float | None, moves: int = 1) -> Figures:
    return Figures(outage, 0, 1, moves, 0, 0, 0)


def scenario(**bounds: Bound) -> Scenario:
    return Scenario("x", "y", (("wait", Wait(1)),), Expected(**bounds))


def test_worst_and_median_are_held_against_their_bounds() -> None:
    expected = scenario(outage_ms=Bound(1000, 500, 1500), moves=Bound(1))
    good = [figures(each) for each in (400, 450, 900, 480, 470)]
    result = judge(expected, good, (), proxied=False, in_vm=False)
    assert result.holds
    assert [(each.worst, each.median) for each in result.measures] == [(900, 470), (1, 1)]
    slow = [figures(each) for each in (600, 650, 900, 680, 670)]
    assert not judge(expected, slow, (), proxied=False, in_vm=False).holds
    assert judge(expected, slow[: judging.MEDIAN_NEEDS - 1], (), proxied=False, in_vm=False).holds
    assert judge(expected, [*slow, figures(1400)], (), proxied=False, in_vm=True).holds
    assert not judge(expected, [*good, figures(1400)], (), proxied=False, in_vm=False).holds
    assert not judge(expected, [*good, figures(400, moves=2)], (), proxied=False, in_vm=False).holds


def test_a_stream_that_never_recovered_holds_no_bound() -> None:
    result = judge(scenario(outage_ms=Bound(1000)), [figures(None)], (), proxied=False, in_vm=False)
    assert (result.holds, result.measures[0].worst) == (False, None)


def test_nothing_played_or_a_problem_told_holds_nothing() -> None:
    assert not judge(scenario(moves=Bound(9)), [], (), proxied=False, in_vm=False).holds
    assert not judge(scenario(moves=Bound(9)), [figures(1)], ("x",), proxied=False, in_vm=False).holds
