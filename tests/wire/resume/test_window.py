"""The window follows rate times round trip."""

from __future__ import annotations

from kled_wire.resume.window import WINDOW_MAX, WINDOW_MIN, Window


def run(window: Window, *, rate: float, rtt_s: float, seconds: float) -> None:
    """A bulk writer on a way that carries `rate` bytes a second and takes `rtt_s` both ways."""
    now, offset = 1.0, 0
    window.sent(1, now)  # what every session begins with: something small
    window.acked(1, now + rtt_s)
    while now < 1.0 + seconds:
        size = window.size
        window.sent(offset + size, now)
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
