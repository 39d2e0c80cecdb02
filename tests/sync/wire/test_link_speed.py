"""When a link is too fast for compression to be worth its time."""

from __future__ import annotations

import pytest

from kled_sync.wire.link_speed import LinkSpeed

MIB = 1024 * 1024


def send(link: LinkSpeed, mib: int, bytes_s: float) -> None:
    for _ in range(mib):
        link.sent(MIB, MIB / bytes_s)


def test_what_buffers_take_at_once_does_not_count_as_fast() -> None:
    link = LinkSpeed()
    send(link, 8, 5e9)
    assert link.is_slow
    send(link, 8, 12.5e6)
    assert link.is_slow


@pytest.mark.parametrize(("bytes_s", "is_slow"), [(125e6, True), (500e6, False)])
def test_what_a_sender_waited_decides(bytes_s: float, is_slow: bool) -> None:
    link = LinkSpeed()
    send(link, 16, bytes_s)
    assert link.is_slow is is_slow


def test_a_link_that_becomes_slow_is_noticed() -> None:
    link = LinkSpeed()
    send(link, 16, 1e9)
    assert not link.is_slow
    send(link, 16, 1e6)
    assert link.is_slow
