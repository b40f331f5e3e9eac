"""Measurements that run at the same time do not speak for each other."""

from pathlib import Path

from strictarp.lab.begun import begun_file


def test_each_result_has_a_file_of_its_own_that_says_so(tmp_path: Path) -> None:
    names = [begun_file(tmp_path / name) for name in ("run.held", "run.witnessed", "run.answers")]
    assert len(set(names)) == 3
    assert all(each.parent == tmp_path for each in names)
