"""A fight over a value is told once, then with growing pauses; every change counts."""

from hypothesis import given
from hypothesis import strategies as st

from strictarp.guard.drifts import LONGEST_WAIT, QUIET, Drift, Fight, heard
from strictarp.guard.telling import sentence


def told_at(moments: list[float]) -> tuple[list[float], Fight | None]:
    fight: Fight | None = None
    told = []
    for moment in moments:
        fight, tell = heard(fight, moment)
        if tell:
            told.append(moment)
    return told, fight


def test_a_fight_each_second_is_told_after_one_two_four_minutes() -> None:
    told, fight = told_at([float(second) for second in range(24 * 3600)])
    assert told[:5] == [0, 60, 180, 420, 900]
    assert len(told) < 35  # of 86,400 in a day
    assert fight is not None
    assert fight.total == 24 * 3600


def test_after_quiet_the_next_change_is_news() -> None:
    told, fight = told_at([0, 1, 2, 3 + QUIET, 4 + QUIET])
    assert told == [0, 3 + QUIET]
    assert fight is not None
    assert (fight.total, fight.untold) == (5, 1)


@given(
    st.lists(st.floats(0, 5000), min_size=1).map(lambda gaps: [sum(gaps[: n + 1]) for n in range(len(gaps))])
)
def test_the_first_is_told_nothing_is_lost_and_no_pause_is_too_long(moments: list[float]) -> None:
    told, fight = told_at(moments)
    assert told[0] == moments[0]
    assert fight is not None
    assert fight.total == len(moments)
    assert fight.wait <= LONGEST_WAIT


def test_a_line_says_what_was_done_how_often_and_by_whom() -> None:
    drift = Drift("net.ipv4.conf.all.arp_ignore", "0", "1", 0.0, ("/etc/sysctl.conf:3 sets it",))
    assert sentence(drift, 0) == (
        "net.ipv4.conf.all.arp_ignore was changed to 0; set to 1 again. Who: /etc/sysctl.conf:3 sets it"
    )
    assert "(58 more times since the last line about it). Who" in sentence(drift, 58)
    assert sentence(Drift("nftables table arp strictarp", "changed or deleted", "loaded anew", 0.0), 0) == (
        "nftables table arp strictarp was changed or deleted; loaded anew"
    )
