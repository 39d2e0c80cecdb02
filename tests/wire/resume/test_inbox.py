"""What has arrived, and when to say so."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from kled_wire.errors import ProtocolError
from kled_wire.resume.inbox import (
    ACK_BYTES,
    ACK_BYTES_MAX,
    ACK_DELAY_S,
    ACK_EVERY_S,
    HELD_MAX,
    Inbox,
)


def test_what_a_replay_repeats_is_dropped() -> None:
    inbox = Inbox()
    assert bytes(inbox.accept(0, b"abc")) == b"abc"
    assert bytes(inbox.accept(0, b"abcdef")) == b"def"
    assert bytes(inbox.accept(0, b"abc")) == b""
    assert inbox.received == 6


def test_few_bytes_are_acknowledged_after_a_moment_and_many_at_once() -> None:
    inbox = Inbox()
    assert inbox.ack_at == math.inf
    inbox.accept(0, b"x" + bytes(ACK_BYTES))
    inbox.consume(1, 1.0)
    assert inbox.ack_at == 1.0 + ACK_DELAY_S
    inbox.consume(ACK_BYTES, 1.0)
    assert inbox.ack_at <= 1.0
    assert inbox.take_ack(1.0) == 1 + ACK_BYTES
    assert inbox.ack_at == math.inf


def test_a_fast_transport_is_acknowledged_less_often_step_by_step_and_a_slow_one_as_before() -> (
    None
):
    inbox, now = Inbox(), 1.0
    sizes = []
    for _ in range(10):
        before = inbox.consumed
        while inbox.ack_at > now:
            inbox.accept(inbox.received, bytes(ACK_BYTES))
            now += 1e-5
            inbox.consume(ACK_BYTES, now)
        inbox.take_ack(now)
        sizes.append(inbox.consumed - before)
    assert sizes[0] == ACK_BYTES
    assert all(later <= 2 * size for size, later in pairwise(sizes))
    assert sizes[-1] == ACK_BYTES_MAX
    inbox.take_ack(2.0)
    inbox.accept(inbox.received, bytes(ACK_BYTES))
    inbox.consume(ACK_BYTES, 2.0)
    assert inbox.ack_at <= 2.0


def test_much_that_waits_for_more_is_acknowledged_sooner_than_little() -> None:
    inbox = Inbox()
    inbox.accept(0, bytes(3 * ACK_BYTES))
    for now in (1.0, 1.0001):
        inbox.consume(ACK_BYTES // 2, now)
        inbox.take_ack(now)
    inbox.consume(1, 2.0)
    assert inbox.ack_at == 2.0 + ACK_DELAY_S
    inbox.consume(ACK_BYTES, 2.0)
    assert inbox.ack_at == 2.0 + ACK_EVERY_S


def test_what_the_application_has_not_taken_is_not_acknowledged() -> None:
    inbox = Inbox()
    inbox.accept(0, bytes(10 * ACK_BYTES))
    assert inbox.ack_at > 99.0
    inbox.consume(5, 99.0)
    assert inbox.take_ack(99.0) == 5
    assert inbox.position == 10 * ACK_BYTES


def test_who_ignores_the_window_is_stopped() -> None:
    inbox = Inbox()
    inbox.accept(0, bytes(HELD_MAX))
    with pytest.raises(ProtocolError, match="are unread"):
        inbox.accept(HELD_MAX, b"x")
    assert inbox.position == HELD_MAX
    inbox.consume(1, 1.0)
    assert inbox.accept(HELD_MAX, b"x") == b"x"


def test_the_end_counts_as_one_more() -> None:
    inbox = Inbox()
    inbox.accept(0, b"abc")
    inbox.ended(3, 1.0)
    inbox.ended(3, 1.0)
    assert inbox.position == 4
    assert inbox.take_ack(1.0) == 0
    inbox.consume(3, 1.0)
    assert inbox.take_ack(1.0) == 4
    with pytest.raises(ProtocolError):
        inbox.ended(2, 1.0)


def test_an_end_before_its_data_is_refused() -> None:
    with pytest.raises(ProtocolError):
        Inbox().ended(5, 1.0)
