"""The journal: what was found is put back, whatever happened in between and wherever it was cut off."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp.switching import Scope
from strictarp.guard import journal as journals
from strictarp.guard.journal import Journal, Origin, UnusableJournal
from strictarp.guard.keys import KEYS, Key, Seen
from strictarp.guard.plan import guarded, release, writes

ORIGIN = Origin("boot", 1)
LEVELS = st.sampled_from((-1, 0, 1, 2, 3, 4, 8, 9))
NAMES = {0: "all", 2: "eth0", 3: "eth1", 4: "cali1"}
UPLINKS = ("eth0", "eth1")
VALUES = st.fixed_dictionaries({Key(index, name): LEVELS for index in NAMES for name in KEYS})
SCOPES = st.sampled_from((Scope.ALL, Scope.UPLINKS))


class Node:
    """The kernel's values, and the journal's bytes on disk. `steps`: how many more happen before a crash."""

    def __init__(self, values: dict[Key, int], steps: int = 1 << 30) -> None:
        self.values = dict(values)
        self.disk: bytes | None = None
        self.steps = steps

    @property
    def seen(self) -> Seen:
        return Seen(NAMES, self.values)

    def _alive(self) -> bool:
        self.steps -= 1
        return self.steps >= 0

    @property
    def journal(self) -> Journal:
        return journals.decode(self.disk, "j") if self.disk is not None else Journal(ORIGIN)

    def store(self, journal: Journal) -> None:
        if self._alive():
            self.disk = journals.encode(journal)

    def guard(self, scope: Scope) -> None:
        """One turn, as the guard's shell does it: journal first."""
        wanted = writes(scope, self.seen, UPLINKS)
        noted = journals.noted(self.journal, self.seen, guarded(scope, self.seen, UPLINKS), wanted)
        if noted != self.journal or self.disk is None:
            self.store(noted)
        for write in wanted:
            if self._alive():
                self.values[write.key] = write.value

    def release(self) -> None:
        plan = release(self.journal, self.seen)
        for write in plan.writes:
            if self._alive():
                self.values[write.key] = write.value
        if self._alive():
            self.disk = None


def steps_of(values: dict[Key, int], scope: Scope) -> int:
    node = Node(values)
    node.guard(scope)
    node.release()
    return (1 << 30) - node.steps


@given(VALUES, SCOPES)
def test_every_interrupted_prefix_is_put_back(values: dict[Key, int], scope: Scope) -> None:
    for cut in range(steps_of(values, scope) + 1):
        node = Node(values, cut)
        node.guard(scope)
        node.release()
        node.steps = 1 << 30  # it is started again, to release
        node.release()
        assert node.values == values, f"cut after {cut} steps"


@given(
    VALUES,
    SCOPES,
    st.lists(st.dictionaries(st.sampled_from(sorted(Key(i, n) for i in NAMES for n in KEYS)), LEVELS)),
)
def test_release_after_any_drift_restores(
    values: dict[Key, int], scope: Scope, drifts: list[dict[Key, int]]
) -> None:
    node = Node(values)
    node.guard(scope)
    touched: set[Key] = set()
    for drift in drifts:
        node.values |= drift
        touched |= drift.keys()
        node.guard(scope)
    before, entries = dict(node.values), node.journal.by_key
    node.release()
    for key, value in node.values.items():
        entry = entries.get(key)
        if entry is None or (before[key] != entry.written and key in touched):
            assert value == before[key]  # not guarded, or somebody's own strict value
        else:
            assert value == entry.found == values[key]


@given(VALUES)
def test_another_scope_puts_back_what_it_does_not_guard(values: dict[Key, int]) -> None:
    node = Node(values)
    node.guard(Scope.ALL)
    node.guard(Scope.UPLINKS)
    keep = guarded(Scope.UPLINKS, node.seen, UPLINKS)
    for write in release(node.journal, node.seen, keep=keep).writes:
        node.values[write.key] = write.value
    assert all(node.values[key] == values[key] for key in node.values if key not in keep)


def test_a_device_that_was_made_anew_does_not_get_the_old_ones_value() -> None:
    old = Seen({0: "all", 2: "eth0"}, {Key(0, n): 0 for n in KEYS} | {Key(2, n): 3 for n in KEYS})
    journal = noted(Journal(ORIGIN), old)
    new = Seen({0: "all", 7: "eth0"}, {Key(0, n): 1 for n in KEYS} | {Key(7, n): 1 for n in KEYS})
    plan = release(journal, new)
    assert [(write.key, write.value) for write in plan.writes if write.key.index] == []
    assert {left.entry.index for left in plan.left} >= {2}
    later = noted(journal, new)
    assert {entry.index for entry in later.entries} == {0, 2, 7}


def noted(journal: Journal, seen: Seen) -> Journal:
    wanted = writes(Scope.ALL, seen, ("eth0",))
    return journals.noted(journal, seen, guarded(Scope.ALL, seen, ("eth0",)), wanted)


def test_a_renamed_device_is_put_back_under_its_new_name() -> None:
    values = {Key(0, n): 0 for n in KEYS} | {Key(2, n): 3 for n in KEYS}
    journal = noted(Journal(ORIGIN), Seen({0: "all", 2: "eth0"}, values))
    renamed = Seen({0: "all", 2: "lan0"}, values | {Key(2, "arp_ignore"): 1})
    plan = release(journal, renamed)
    assert [(renamed.dotted(write.key), write.value) for write in plan.writes] == [
        ("net.ipv4.conf.lan0.arp_ignore", 3)
    ]
    assert {e.interface for e in journals.noted(journal, renamed, (), ()).entries} == {"all", "lan0"}


def test_a_value_that_somebody_set_meanwhile_is_left_and_told() -> None:
    values = {Key(0, n): 0 for n in KEYS}
    journal = noted(Journal(ORIGIN), Seen({0: "all"}, values))
    plan = release(journal, Seen({0: "all"}, {Key(0, "arp_ignore"): 8, Key(0, "arp_announce"): 0}))
    assert plan.writes == ()
    assert [entry.name for entry in plan.settled] == ["arp_announce"]
    assert [left.reason for left in plan.left] == ["somebody set it to 8 since (ours was 1, found was 0)"]


def test_a_reboot_makes_an_old_journal_void_and_a_foreign_namespace_is_refused() -> None:
    stored = Journal(Origin("before", 9))
    assert journals.opened(stored, ORIGIN, "j") == (Journal(ORIGIN), True)
    assert journals.opened(None, ORIGIN, "j") == (Journal(ORIGIN), False)
    with pytest.raises(UnusableJournal, match="another network namespace"):
        journals.opened(Journal(Origin("boot", 9)), ORIGIN, "j")


def whole() -> bytes:
    return journals.encode(noted(Journal(ORIGIN), Seen({0: "all"}, {Key(0, n): 0 for n in KEYS})))


def test_a_journal_survives_the_way_to_the_disk() -> None:
    assert journals.encode(journals.decode(whole(), "j")) == whole()


@given(st.integers(0, len(whole()) - 3))
def test_a_truncated_journal_is_refused_in_one_sentence(length: int) -> None:
    with pytest.raises(UnusableJournal, match="nothing was changed"):
        journals.decode(whole()[:length], "/var/lib/strictarp/guard.json")


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(repr).map(str.encode)
)
def test_foreign_bytes_are_refused_and_nothing_else_escapes(data: bytes) -> None:
    with pytest.raises(UnusableJournal):
        journals.decode(data, "j")


@given(st.integers(0, len(whole()) - 1), st.integers(0, 255))
def test_a_damaged_byte_never_escapes_as_another_error(place: int, value: int) -> None:
    data = bytearray(whole())
    data[place] = value
    with contextlib.suppress(UnusableJournal):
        journals.decode(bytes(data), "j")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b'"strictarp-guard-journal"', b'"other"', "kind 'other'"),
        (b'"version": 1', b'"version": 2', "version 2"),
        (b'"version": 1', b'"version": 1, "more": 3', "unknown field"),
        (b'"arp_ignore"', b'"rp_filter"', "0/rp_filter is none of ours"),
        (b'"arp_ignore"', b'"arp_announce"', "stands there twice"),
    ],
)
def test_what_is_wrong_with_a_journal_is_named(old: bytes, new: bytes, told: str) -> None:
    assert old in whole()
    with pytest.raises(UnusableJournal, match=told):
        journals.decode(whole().replace(old, new, 1), "j")
