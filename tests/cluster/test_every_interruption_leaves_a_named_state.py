"""The plan of steps, run on a model of a cluster: every failure, every interruption."""

from collections.abc import Collection

import pytest

from strictarp.cluster.nodes import Seen
from strictarp.cluster.sentences import sentence
from strictarp.cluster.steps import Facts, Progress, Step, after, next_step, planned, result

FORWARD = (Step.EDIT, Step.RESTART, Step.FOLLOW, Step.PROVE, Step.ANNOUNCE, Step.WIRE)
BACK = (Step.UNDO_EDIT, Step.UNDO_RESTART, Step.UNDO_FOLLOW)
SEEN = tuple(Seen(name, "", "right", "", in_force=True) for name in "abc")


class Cluster:
    """ConfigMap and proxies; a proxy runs with what the ConfigMap said when it was last restarted."""

    def __init__(self, wanted: bool = True) -> None:
        self.wanted = wanted
        self.config = not wanted
        self.proxies = not wanted
        self.rolled_out = True

    def facts(self) -> Facts:
        return Facts(
            self.wanted,
            edit_needed=self.config != self.wanted,
            rolled_out=self.rolled_out,
            disagreement=self.proxies != self.wanted,
            vips=True,
        )

    def take(self, step: Step) -> None:
        match step:
            case Step.EDIT:
                self.config = self.wanted
            case Step.UNDO_EDIT:
                self.config = not self.wanted
            case Step.RESTART | Step.UNDO_RESTART:
                self.rolled_out = False
            case Step.FOLLOW | Step.UNDO_FOLLOW:
                self.proxies, self.rolled_out = self.config, True
            case Step.ANNOUNCE:
                assert self.wanted
            case Step.PROVE | Step.WIRE:
                assert self.proxies == self.wanted
            case Step.UNDO_LOOK:
                assert self.proxies != self.wanted


def run(
    cluster: Cluster, failing: Collection[Step] = (), *, stop_after: int = 99, effect: bool = False
) -> Progress:
    """Steps in `failing` fail, with their effect or without."""
    progress = Progress(cluster.facts())
    for _ in range(stop_after):
        step = next_step(progress)
        if step is None:
            break
        if step not in failing or effect:
            cluster.take(step)
        progress = after(progress, step, "the API is away" if step in failing else None)
    return progress


@pytest.mark.parametrize("wanted", [True, False])
def test_without_a_failure_it_is_done_and_a_second_run_changes_nothing(wanted: bool) -> None:
    cluster = Cluster(wanted)
    first = run(cluster)
    assert first.done == (FORWARD if wanted else tuple(s for s in FORWARD if s is not Step.ANNOUNCE))
    assert result(first) == "done"
    assert cluster.proxies is wanted
    second = run(cluster)
    assert result(second) == "unchanged"
    assert second.done == (Step.PROVE, Step.WIRE)
    told = sentence(second, SEEN)
    assert "on 3 of 3 nodes already; " in told
    assert told.endswith("; nothing was changed")


@pytest.mark.parametrize("count", range(7))
def test_interrupted_after_any_step_a_second_run_finishes(count: int) -> None:
    cluster = Cluster()
    stopped = run(cluster, stop_after=count)
    assert result(stopped) == ("done" if count == 6 else "stopped")
    if count < 6:
        assert sentence(stopped).startswith("stopped in the middle: ConfigMap kube-system/kube-proxy ")
    assert result(run(cluster)) in {"done", "unchanged"}
    assert (cluster.config, cluster.proxies, cluster.rolled_out) == (True, True, True)


@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("step", FORWARD)
def test_whatever_fails_is_taken_back(step: Step, effect: bool) -> None:
    cluster = Cluster()
    progress = run(cluster, {step}, effect=effect)
    assert result(progress) == "rolled back"
    assert (cluster.config, cluster.proxies, cluster.rolled_out) == (False, False, True)
    told = sentence(progress)
    assert told.startswith(f"could not {step}: the API is away; rolled back: ")
    assert ("no proxy was restarted" in told) == (step is Step.EDIT)


@pytest.mark.parametrize("back", BACK)
@pytest.mark.parametrize("step", FORWARD)
def test_when_the_way_back_is_barred_the_sentence_tells_the_truth(step: Step, back: Step) -> None:
    cluster = Cluster()
    progress = run(cluster, {step, back})
    if step is Step.EDIT and back is not Step.UNDO_EDIT:
        assert result(progress) == "rolled back"
        return
    assert result(progress) == "failed"
    told = sentence(progress)
    assert "NOT rolled back" in told
    assert f"could not {back}: the API is away" in told
    assert ("ConfigMap kube-system/kube-proxy is as it was" in told) == (
        cluster.config is False and back != BACK[0]
    )
    assert cluster.proxies is cluster.config or not cluster.rolled_out or "restart" in told


def test_proxies_older_than_the_setting_are_restarted_and_nothing_is_edited() -> None:
    facts = Facts(wanted=True, edit_needed=False, disagreement=True)
    assert planned(facts) == (Step.RESTART, Step.FOLLOW, Step.PROVE)
    failed = after(Progress(facts, done=(Step.RESTART,)), Step.FOLLOW, "not finished within 300 s")
    assert next_step(failed) is None
    assert "as it did before, and was not changed" in sentence(failed)


def test_a_rollout_under_way_is_only_followed() -> None:
    assert planned(Facts(wanted=True, edit_needed=False, rolled_out=False)) == (Step.FOLLOW, Step.PROVE)


def test_nodes_that_cannot_be_seen_are_counted_apart() -> None:
    done = Progress(Facts(wanted=True, edit_needed=True, vips=True), done=FORWARD)
    hidden = Seen("c", "", "unseen", "")
    assert sentence(done, (*SEEN[:2], hidden)) == (
        "strictARP is in force on 2 of 3 nodes; the others cannot be seen from here"
    )


def test_without_service_ips_the_wire_is_not_asked() -> None:
    assert planned(Facts(wanted=True, edit_needed=True))[-1] is Step.PROVE
    assert planned(Facts(wanted=True, edit_needed=False)) == (Step.PROVE,)


def test_a_proof_on_the_wire_that_fails_without_an_edit_changes_nothing_and_says_so() -> None:
    facts = Facts(wanted=True, edit_needed=False, vips=True)
    failed = after(Progress(facts, done=(Step.PROVE,)), Step.WIRE, "192.0.2.100 is answered by a and b")
    assert (result(failed), next_step(failed)) == ("failed", None)
    assert sentence(failed).startswith("could not ask on the wire: 192.0.2.100 is answered by a and b; ")
    assert "as it did before, and was not changed" in sentence(failed)


def test_a_last_look_that_fails_leaves_rolled_back_what_is_so() -> None:
    progress = run(Cluster(), {Step.WIRE, Step.UNDO_LOOK})
    assert result(progress) == "rolled back"
    assert "the sysctls are as before on 0 of 3 nodes" in sentence(progress, SEEN)


@pytest.mark.parametrize("count", range(5))
def test_stopped_on_the_way_back_the_state_has_a_name(count: int) -> None:
    progress = run(Cluster(), {Step.WIRE}, stop_after=6 + count)
    told = sentence(progress, SEEN)
    assert result(progress) == ("rolled back" if count == 4 else "stopped")
    assert ("says strictARP: true" in told) == (count == 0)
    assert ("as it was" in told) == (count > 0)
