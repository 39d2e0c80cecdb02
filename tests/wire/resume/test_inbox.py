"""What has arrived, and when to say so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import ProtocolError
from kled_wire.resume.inbox import ACK_BYTES, ACK_BYTES_MAX, ACK_DELAY_S, HELD_MAX, Inbox


def test_what_a_replay_repeats_is_dropped() -> None:
    inbox = Inbox()
    assert bytes(inbox.accept(0, b"abc")) == b"abc"
    assert bytes(inbox.accept(0, b"abcdef")) == b"def"
    assert bytes(inbox.accept(0, b"abc")) == b""
    assert inbox.received == 6


def test_few_bytes_are_acknowledged_after_a_moment_and_many_at_once() -> None:
    inbox = Inbox()
    assert not inbox.ack_due(1.0)
    inbox.accept(0, b"x" + bytes(ACK_BYTES))
    inbox.consume(1, 1.0)
    assert not inbox.ack_due(1.0)
    assert inbox.ack_due(1.0 + ACK_DELAY_S)
    inbox.consume(ACK_BYTES, 1.0)
    assert inbox.ack_due(1.0)
    assert inbox.take_ack(1.0) == 1 + ACK_BYTES
    assert inbox.ack_at() is None


@given(st.floats(0, 1e7))
def test_an_ack_is_due_when_it_says_that_it_will_be(now: float) -> None:
    inbox = Inbox()
    inbox.accept(0, b"x")
    inbox.consume(1, now)
    due_at = inbox.ack_at()
    assert due_at is not None
    assert inbox.ack_due(due_at)


def test_a_fast_way_is_acknowledged_less_often_and_a_slow_one_as_before() -> None:
    inbox = Inbox()
    inbox.take_ack(1.0)
    inbox.accept(0, bytes(10 * ACK_BYTES_MAX))
    inbox.consume(ACK_BYTES_MAX, 1.0001)
    inbox.take_ack(1.0001)
    inbox.consume(ACK_BYTES_MAX - 1, 1.0002)
    assert not inbox.ack_due(1.0002)
    inbox.consume(1, 1.0002)
    assert inbox.ack_due(1.0002)
    inbox.take_ack(2.0)
    inbox.consume(ACK_BYTES, 2.0)
    assert inbox.ack_due(2.0)


def test_what_the_application_has_not_taken_is_not_acknowledged() -> None:
    inbox = Inbox()
    inbox.accept(0, bytes(10 * ACK_BYTES))
    assert not inbox.ack_due(99.0)
    inbox.consume(5, 99.0)
    assert inbox.take_ack(99.0) == 5
    assert inbox.position == 10 * ACK_BYTES


def test_who_ignores_the_window_is_stopped() -> None:
    inbox = Inbox()
    inbox.accept(0, bytes(HELD_MAX))
    with pytest.raises(ProtocolError, match="wait to be taken"):
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
