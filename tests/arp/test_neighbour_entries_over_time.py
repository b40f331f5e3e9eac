"""A neighbour entry on a virtual clock: the flap, the sticky client, and what holds at any time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.arp import neighbours
from strictarp.arp.frames import BROADCAST_MAC
from strictarp.arp.neighbours import Ask, Entry, State, Timing

A, B = bytes.fromhex("020000000a0a"), bytes.fromhex("020000000b0b")


def reply(entry: Entry, mac: bytes, now: float) -> Entry:
    override = neighbours.is_open(entry, now, Timing())
    return neighbours.update(entry, mac, State.REACHABLE, now, override=override)


def resolved(now: float = 0.0) -> Entry:
    entry, _ = neighbours.use(Entry(updated=now), now, source=7)
    return reply(entry, A, now)


def run(entry: Entry, until: float) -> tuple[Entry, list[tuple[float, Ask]]]:
    sent: list[tuple[float, Ask]] = []
    while entry.due is not None and entry.due <= until:
        now = entry.due
        entry, asked = neighbours.expire(entry, now)
        sent += [(now, ask) for ask in asked]
    return entry, sent


def test_two_answerers_flap_on_every_re_arp() -> None:
    entry = resolved()
    owners = []
    for number in range(1, 7):
        entry = reply(entry, B if number % 2 else A, number * 1.3)
        owners.append(entry.mac)
    assert owners == [B, A] * 3


def test_the_first_of_two_answers_wins_within_the_locktime() -> None:
    assert reply(resolved(), B, 0.4).mac == A


def test_a_refresh_does_not_extend_the_lock() -> None:
    entry = reply(resolved(), A, 0.9)
    assert reply(entry, B, 1.1).mac == B


def test_a_request_with_the_same_mac_confirms_nothing() -> None:
    entry = neighbours.update(resolved(), A, State.STALE, 20.0, override=True)
    assert (entry.state, entry.confirmed) == (State.REACHABLE, 0.0)


def test_an_announcement_turns_the_cache_at_once() -> None:
    entry = neighbours.update(resolved(), B, State.STALE, 0.1, override=True)
    assert (entry.mac, entry.state) == (B, State.STALE)


def test_an_unanswered_name_is_asked_three_times_then_fails() -> None:
    entry, first = neighbours.use(Entry(updated=0.0), 0.0, source=7)
    entry, sent = run(entry, 10)
    assert first == (Ask(BROADCAST_MAC, 7),)
    assert [at for at, _ in sent] == [1.0, 2.0]
    assert (entry.state, entry.due) == (State.FAILED, None)


def test_a_client_leaves_a_dead_owner_after_eight_seconds() -> None:
    entry, _ = run(resolved(), 40.0)
    assert (entry.state, entry.updated) == (State.STALE, 30.0)
    entry, _ = neighbours.use(entry, 100.0)
    assert (entry.state, entry.due) == (State.DELAY, 105.0)
    entry, sent = run(entry, 200)
    assert [(at, ask.to) for at, ask in sent] == [(105.0, A), (106.0, A), (107.0, A)]
    assert (entry.state, entry.updated) == (State.FAILED, 108.0)


def test_a_wrong_owner_that_answers_the_unicast_probe_keeps_the_client() -> None:
    entry, _ = neighbours.use(stale(), 100.0)
    entry, _ = neighbours.expire(entry, 105.0)
    assert entry.state is State.PROBE
    assert reply(entry, A, 105.1).state is State.REACHABLE


def stale() -> Entry:
    return Entry(updated=0.0, state=State.STALE, mac=A)


def test_a_permanent_entry_is_immune() -> None:
    entry = Entry(updated=0.0, state=State.PERMANENT, mac=A)
    assert neighbours.update(entry, B, State.STALE, 9.0, override=True) == entry


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["reply", "garp", "request", "use", "wait"]),
        st.sampled_from([A, B]),
        st.floats(0, 20),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(EVENTS)
def test_whatever_happens_an_entry_stays_sound(events: list[tuple[str, bytes, float]]) -> None:
    entry, now = Entry(updated=0.0), 0.0
    for kind, mac, pause in events:
        now += pause
        entry, _ = run(entry, now)
        before = entry
        if kind == "reply":
            entry = reply(entry, mac, now)
        elif kind == "garp":
            entry = neighbours.update(entry, mac, State.STALE, now, override=True)
            assert entry.mac == mac
        elif kind == "request":
            open_now = neighbours.is_open(entry, now, Timing())
            entry = neighbours.update(entry, mac, State.STALE, now, override=open_now)
        elif kind == "use":
            entry, asked = neighbours.use(entry, now, source=1)
            assert all(ask.to == BROADCAST_MAC for ask in asked)
        locked = before.valid and now <= before.updated + Timing().locktime
        if kind in ("reply", "request") and locked:
            assert entry.mac == before.mac
        timed = (State.INCOMPLETE, State.REACHABLE, State.DELAY, State.PROBE)
        assert (entry.due is not None) == (entry.state in timed)
        assert entry.updated <= now
        assert bool(entry.waiting) <= (entry.state is State.INCOMPLETE)
