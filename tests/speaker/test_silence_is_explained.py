from strictarp.speaker.candidates import evaluate
from strictarp.speaker.silence import LASTS, Silence, sentence
from support.speaker_objects import facts, node, service, slice_of

NOBODY = evaluate(service(), [], facts())
SOMEBODY = evaluate(service(), [slice_of()], facts())
NO_NODE = evaluate(
    service(),
    [slice_of()],
    facts(nodes=[node(name, NetworkUnavailable="True") for name in ("node1", "node2", "node3")]),
)
FOREIGN = evaluate(service(loadBalancerClass="other"), [], facts())


def test_a_silence_is_told_once_when_it_has_lasted() -> None:
    silence = Silence()
    assert silence.news({"default/web": NOBODY}, 0.0) == []
    assert silence.news({"default/web": NOBODY}, LASTS - 0.1) == []
    told = "nobody announces 192.0.2.100: it has no endpoint that can serve"
    assert silence.news({"default/web": NOBODY}, LASTS) == [("default/web", told)]
    assert silence.news({"default/web": NOBODY}, 100.0) == []


def test_one_that_ends_and_comes_back_is_told_again_and_a_short_one_never() -> None:
    silence = Silence()
    silence.news({"default/web": NOBODY}, 0.0)
    silence.news({"default/web": SOMEBODY}, LASTS - 1)
    assert silence.news({"default/web": NOBODY}, LASTS) == []
    assert len(silence.news({"default/web": NOBODY}, 2 * LASTS)) == 1
    silence.news({}, 3 * LASTS)
    silence.news({"default/web": NOBODY}, 4 * LASTS)
    assert len(silence.news({"default/web": NOBODY}, 5 * LASTS)) == 1


def test_another_reason_is_told_too_with_that_of_each_node() -> None:
    silence = Silence()
    silence.news({"default/web": NOBODY}, 0.0)
    silence.news({"default/web": NOBODY}, LASTS)
    silence.news({"default/web": NO_NODE}, LASTS + 1)
    ((_, text),) = silence.news({"default/web": NO_NODE}, 2 * LASTS + 1)
    assert text == sentence(NO_NODE)
    assert text.endswith("node1, node2, node3: condition NetworkUnavailable is True")


def test_what_is_not_ours_is_no_silence() -> None:
    silence = Silence()
    for now in (0.0, LASTS, 10 * LASTS):
        assert silence.news({"default/web": FOREIGN}, now) == []
