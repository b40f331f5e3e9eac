import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """`strictarp lab demo`, as a user runs it."""
    folder = tmp_path_factory.mktemp("demo")
    out = folder / "figures.json"
    program = Path(sys.prefix, "bin", "strictarp")
    done = subprocess.run(
        [str(program), "lab", "demo", "--json", str(out)],
        env={**os.environ, "STRICTARP_LAB": str(folder / "lab"), "COLUMNS": "120"},
        text=True,
        capture_output=True,
        check=False,
        timeout=380,
    )
    print(done.stdout, done.stderr)
    print("\n".join(log.read_text()[-3000:] for log in sorted((folder / "lab").glob("**/*.log"))))
    assert done.returncode == 0, f"exit {done.returncode}"
    return {"stdout": done.stdout, "folder": folder, **json.loads(out.read_text())}


def test_every_expectation_held(story: dict[str, object]) -> None:
    assert story["ok"] is True
    assert [step["name"] for step in story["steps"] if not step["ok"]] == []
    assert len(story["steps"]) == 13


def test_before_three_macs_answer_and_after_it_one(story: dict[str, object]) -> None:
    before, after = story["before"], story["after"]
    assert len({each["mac"] for each in before["answerers"]}) == 3
    assert before["distinct_macs_seen_by_client"] >= 2
    assert before["vip_as_sender_seen"] is True
    assert len(after["answerers"]) == 1
    assert after["vip_as_sender_seen"] is False


def test_all_requests_were_answered_by_all_backends(story: dict[str, object]) -> None:
    requests = story["requests"]
    assert requests["sent"] == requests["ok"] == 300
    assert set(requests["per_backend"]) == {"node1", "node2", "node3"}


def test_the_failover_was_fast_and_never_two_answered(story: dict[str, object]) -> None:
    failover = story["failover"]
    assert failover["outage_ms"] <= 1500
    assert failover["max_simultaneous_answerers"] == 1
    assert failover["new_owner"] not in {None, story["after"]["answerers"][0]["node"]}


def test_it_ended_in_time_and_left_nothing_behind(story: dict[str, object]) -> None:
    assert story["seconds"] <= 180
    assert not (story["folder"] / "lab").exists()


def test_the_table_names_every_step(story: dict[str, object]) -> None:
    for step in story["steps"]:
        assert step["name"] in story["stdout"]
