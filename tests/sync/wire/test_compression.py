"""How strongly contents are compressed: as the link is quickest."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from kled_sync.wire.compression import LEVELS, CompressionWorth

MIB = 1024 * 1024
# Of each level: bytes that a machine compresses in a second, and what is left of them.
TEXT = {0: (1e18, 1.0), 1: (450e6, 0.46), 3: (230e6, 0.30), 6: (95e6, 0.29)}


@dataclass(kw_only=True)
class Link:
    """A sender and its link: content is read, compressed and sent, and the link goes on meanwhile.

    Speeds are in bytes a second; `buffers` is what it takes at once.
    """

    rate: float
    reading: float = 2e9
    buffers: float = 4 * MIB
    machine: float = 1.0
    full: float = 0.0

    def send(self, worth: CompressionWorth, mib: int) -> None:
        for _ in range(4 * mib):
            self._block(worth, MIB / 4)

    def _block(self, worth: CompressionWorth, content: float) -> None:
        speed, left = TEXT[worth.level]
        packing_s = content / (speed * self.machine) if worth.level else 0.0
        busy_s = content / self.reading + packing_s
        if worth.level:
            worth.packed(packing_s)
        self.full = max(0.0, self.full - busy_s * self.rate) + content * left
        waited_s = max(0.0, self.full - self.buffers) / self.rate
        self.full = min(self.full, self.buffers)
        worth.sent(int(content), int(content * left), waited_s=waited_s, taken_s=busy_s + waited_s)


@pytest.mark.parametrize(
    ("rate", "machine", "wanted"),
    [
        (1.25e6, 1.0, {6}),
        (12.5e6, 1.0, {6}),
        (50e6, 1.0, {3}),
        (250e6, 1.0, {1}),
        (5e9, 1.0, {0}),
        # A machine that others use compresses more slowly.
        (50e6, 0.2, {1}),
        (125e6, 0.1, {0}),
    ],
)
def test_the_level_is_the_quickest_on_the_link(
    rate: float, machine: float, wanted: set[int]
) -> None:
    worth, link = CompressionWorth(), Link(rate=rate, machine=machine)
    link.send(worth, 1000)
    # It is the level of most windows: another is tried now and then.
    seen = []
    for _ in range(100):
        link.send(worth, 10)
        seen.append(worth.level)
    assert max(LEVELS, key=seen.count) in wanted


def test_what_buffers_take_at_once_does_not_count() -> None:
    worth = CompressionWorth()
    first = worth.level
    Link(rate=12.5e6, buffers=20 * MIB).send(worth, 60)
    assert worth.level == first


def test_a_link_that_becomes_slow_or_quick_is_noticed() -> None:
    worth = CompressionWorth()
    Link(rate=5e9).send(worth, 500)
    assert worth.level == 0
    Link(rate=1e6).send(worth, 500)
    assert worth.level == 6
    Link(rate=5e9).send(worth, 3000)
    assert worth.level == 0


def test_a_near_link_is_quick_until_it_is_seen_to_be_slow() -> None:
    worth = CompressionWorth()
    worth.expect_quick()
    Link(rate=100e6).send(worth, 200)
    assert worth.level == 0
    Link(rate=10e6).send(worth, 100)
    assert worth.level > 0
    worth.expect_quick()
    assert worth.level > 0
