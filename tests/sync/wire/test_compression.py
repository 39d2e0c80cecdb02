"""When a link is too fast for compression to be worth its time."""

from __future__ import annotations

import pytest

from kled_sync.wire.compression import CompressionWorth

MIB = 1024 * 1024


def send(
    worth: CompressionWorth, mib: int, *, link: float, packer: float = 400e6, size: float = 0.5
) -> None:
    """So many MiB of content; speeds in bytes a second, `size` of what is compressed."""
    for _ in range(mib):
        sent = MIB
        if worth.is_given:
            sent = int(MIB * size)
            worth.packed(MIB - sent, MIB / packer)
        worth.sent(sent, sent / link)


def test_what_buffers_take_at_once_does_not_count() -> None:
    worth = CompressionWorth()
    send(worth, 16, link=5e9)
    send(worth, 64, link=12.5e6)
    assert worth.is_given


@pytest.mark.parametrize(
    ("link", "packer", "size", "is_given"),
    [
        (125e6, 400e6, 0.5, True),
        (500e6, 400e6, 0.5, False),
        # What gets small saves more; a machine that others use compresses more slowly.
        (300e6, 400e6, 0.1, True),
        (125e6, 50e6, 0.5, False),
    ],
)
def test_the_time_it_takes_is_weighed_against_what_it_saves(
    link: float, packer: float, size: float, is_given: bool
) -> None:
    worth = CompressionWorth()
    send(worth, 400, link=link, packer=packer, size=size)
    assert worth.is_given is is_given


def test_a_link_that_becomes_slow_is_noticed() -> None:
    worth = CompressionWorth()
    send(worth, 64, link=1e9)
    assert not worth.is_given
    send(worth, 64, link=1e6)
    assert worth.is_given


def test_nothing_is_given_up_for_what_was_never_compressed() -> None:
    worth = CompressionWorth()
    worth.sent(100 * MIB, 0.1)
    assert worth.is_given


def test_a_near_link_is_quick_until_it_is_seen_to_be_slow() -> None:
    worth = CompressionWorth()
    worth.expect_quick()
    send(worth, 64, link=100e6)
    assert not worth.is_given
    send(worth, 64, link=10e6)
    assert worth.is_given
    worth.expect_quick()
    assert worth.is_given
