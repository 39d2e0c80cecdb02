"""Files that are written to all the time are left alone for a while."""

from __future__ import annotations

from kled_sync.session.pacing import LARGE_BYTES, Pacing
from kled_sync.tree.entry import TreeEntry, make_directory, make_file


def large(time: int) -> TreeEntry:
    return make_file(0, time, LARGE_BYTES + time)


def test_a_file_that_was_never_read_waits_for_nothing() -> None:
    pacing = Pacing()
    assert not pacing.waits(b"f", large(1), 0.0)
    assert pacing.next_s(0.0) == float("inf")


def test_one_that_goes_on_growing_waits_five_times_as_long_as_it_took() -> None:
    pacing = Pacing()
    pacing.passed([b"d/f"], 8.0, 10.0)
    for tenths in range(100, 200, 5):
        assert pacing.waits(b"d/f", large(tenths), tenths / 10)
    assert pacing.due(19.9) == set()
    assert pacing.next_s(19.9) > 0
    assert not pacing.waits(b"d/f", large(200), 20.0)


def test_one_that_stays_as_it_is_waits_for_a_second() -> None:
    pacing = Pacing()
    pacing.passed([b"d/f"], -90.0, 10.0)
    assert pacing.waits(b"d/f", large(1), 11.0)
    assert pacing.next_s(11.0) == 1.0
    assert pacing.due(12.0) == {b"d"}
    assert pacing.due(12.0) == set()
    assert not pacing.waits(b"d/f", large(1), 12.0)


def test_none_waits_for_longer_than_a_minute() -> None:
    pacing = Pacing()
    pacing.passed([b"f"], -1000.0, 0.0)
    assert pacing.waits(b"f", large(1), 59.9)
    assert not pacing.waits(b"f", large(2), 60.0)


def test_nothing_waits_where_somebody_waits_for_everything() -> None:
    pacing = Pacing()
    pacing.passed([b"d/f"], -5.0, 0.0)
    assert pacing.waits(b"d/f", large(1), 1.0)
    assert pacing.forget(1.0) == {b"d"}
    assert not pacing.waits(b"d/f", large(2), 1.0)
    pacing.passed([b"d/f"], 0.9, 2.0)  # may not have what was saved before
    assert not pacing.waits(b"d/f", large(3), 2.0)
    pacing.passed([b"d/f"], 1.1, 3.0)
    assert pacing.waits(b"d/f", large(4), 3.0)


def test_what_was_only_read_does_not_wait_as_it_is() -> None:
    pacing = Pacing()
    pacing.passed([b"f"], 0.0, 5.0, large(1))
    assert not pacing.waits(b"f", large(1), 5.0)
    assert pacing.waits(b"f", large(2), 5.0)


def test_directories_and_deletions_do_not_wait() -> None:
    pacing = Pacing()
    pacing.passed([b"f"], -5.0, 0.0)
    for entry in (None, make_directory(0)):
        assert not pacing.waits(b"f", entry, 1.0)


def test_looks_are_spaced_only_where_something_waits_and_nothing_is_done() -> None:
    pacing = Pacing()
    assert pacing.pause_s(0) == 0.0
    pacing.passed([b"f"], -5.0, 0.0)
    assert pacing.waits(b"f", large(1), 1.0)
    assert pacing.pause_s(0) > 0.0
    assert pacing.pause_s(1) == 0.0
