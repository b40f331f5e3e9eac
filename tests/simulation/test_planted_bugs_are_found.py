"""The simulator finds bugs: rules that look right and fail, planted one at a time into the real machine."""

import pytest

from simulation.bugs import BUGS, Bug
from simulation.run import Run, run
from simulation.schedule import draw

_TRIES = 30


def _first_found(bug: Bug) -> Run | None:
    """The first schedule of the bug's class that breaks a promise the bug is known to break."""
    for seed in range(_TRIES):
        with pytest.MonkeyPatch.context() as patch:
            bug.plant(patch)
            done = run(draw(seed, bug.kinds))
        if bug.breaks & {each.promise for each in done.verdict.violations}:
            return done
    return None


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_planted_bug_is_found_and_the_machine_without_it_is_clean(bug: Bug) -> None:
    found = _first_found(bug)
    assert found is not None, f"no schedule of {bug.kinds} below {_TRIES} shows that {bug.name}"
    assert not run(found.schedule).summary
