"""The window follows rate times round trip."""

from __future__ import annotations

import pytest

from kled_wire.resume.window import ASK_EVERY_S, WINDOW_MAX, WINDOW_MIN, Window


def run(window: Window, *, rate: float, rtt_s: float, seconds: float) -> None:
    """A bulk writer on a way that carries `rate` bytes a second and takes `rtt_s` both ways."""
    now, offset = 1.0, 0
    while now < 1.0 + seconds:
        size = window.size
        if window.asks(size, now):
            window.answered(now, now + rtt_s)
        window.sent(offset + size)
        offset += size
        now += max(rtt_s, size / rate)
        window.acked(offset, now)


def test_it_grows_to_fill_a_long_fat_way() -> None:
    window = Window()
    run(window, rate=100e6, rtt_s=0.1, seconds=5)
    assert window.size >= 100e6 * 0.1


def test_it_stays_small_on_a_short_way() -> None:
    window = Window()
    run(window, rate=1e6, rtt_s=0.001, seconds=5)
    assert window.size == WINDOW_MIN


def test_it_is_as_small_where_it_is_the_reader_that_is_slow() -> None:
    """The acknowledgement of a full window takes a quarter of a second, and longer if it grew."""
    window = Window()
    run(window, rate=1e6, rtt_s=0.001, seconds=60)
    assert window.size == WINDOW_MIN


def test_little_under_way_is_not_asked_after_and_much_once_in_a_while() -> None:
    window = Window()
    assert not window.asks(1000, 1.0)
    assert window.asks(WINDOW_MIN, 1.0)
    assert not window.asks(WINDOW_MIN, 1.0 + ASK_EVERY_S / 2)
    assert window.asks(WINDOW_MIN, 1.0 + ASK_EVERY_S)


def test_a_way_that_has_become_longer_is_noticed() -> None:
    window = Window()
    run(window, rate=100e6, rtt_s=0.01, seconds=5)
    window.answered(16.0, 16.1)
    assert window.rtt_s == pytest.approx(0.1)


def test_it_never_passes_its_bound() -> None:
    window = Window()
    run(window, rate=10e9, rtt_s=1, seconds=60)
    assert window.size == WINDOW_MAX


def test_a_transports_round_trips_are_forgotten_with_it() -> None:
    window = Window()
    run(window, rate=1e6, rtt_s=0.05, seconds=1)
    assert window.rtt_s is not None
    window.detached()
    assert window.rtt_s is None
