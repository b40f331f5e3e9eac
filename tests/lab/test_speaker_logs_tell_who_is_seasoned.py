"""Who is seasoned stands in the log, also when it is read long after speakers were restarted."""

from pathlib import Path

import msgspec

from strictarp.lab.kubelet import STARTED
from strictarp.lab.playing import start_frozen_afresh
from strictarp.lab.speaker_logs import SpeakerLogs


def _say(folder: Path, *messages: str) -> None:
    with (folder / "speaker@node1.log").open("ab") as file:
        file.writelines(msgspec.json.encode({"msg": each}) + b"\n" for each in messages)


def test_what_one_process_said_says_nothing_of_the_next(tmp_path: Path) -> None:
    logs = SpeakerLogs(tmp_path, ["node1"])
    _say(tmp_path, STARTED, "Seasoned")
    logs.look()
    assert logs.seasoned == {"node1"}
    _say(tmp_path, "Frozen")
    logs.look()
    assert (logs.seasoned, logs.frozen) == (set(), {"node1"})
    _say(tmp_path, "Seasoned", STARTED)
    logs.look()
    assert (logs.seasoned, logs.frozen) == (set(), set())


def test_a_restart_and_its_seasoning_that_are_read_at_once_leave_it_seasoned(tmp_path: Path) -> None:
    logs = SpeakerLogs(tmp_path, ["node1"])
    _say(tmp_path, STARTED, "Seasoned", "stopped", STARTED, "Seasoned")
    assert "Seasoned" in logs.take_told()
    logs.look()
    assert logs.seasoned == {"node1"}


def test_a_speaker_that_says_late_that_it_froze_is_started_afresh_too(tmp_path: Path) -> None:
    logs = SpeakerLogs(tmp_path, ["node1"])
    killed: list[str] = []
    _say(tmp_path, STARTED, "Seasoned")
    assert not start_frozen_afresh(logs, killed.append)
    _say(tmp_path, "Frozen")
    assert start_frozen_afresh(logs, killed.append)
    assert killed == ["speaker@node1"]
    _say(tmp_path, STARTED)
    assert not start_frozen_afresh(logs, killed.append)
    assert killed == ["speaker@node1"]
