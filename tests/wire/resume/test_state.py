"""The two ends of a stream whose transports are cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kled_wire.errors import ProtocolError
from kled_wire.resume import frames
from kled_wire.resume.inbox import ACK_EVERY_S
from kled_wire.resume.state import DEAD_S, DIRECT_DEAD_S, DIRECT_PING_S, PING_S, StreamState
from kled_wire.resume.window import WINDOW_MIN
from tests.wire.resume.carriers import Link

STEP = st.one_of(
    st.tuples(st.just("client"), st.binary(min_size=1, max_size=3000)),
    st.tuples(st.just("agent"), st.binary(min_size=1, max_size=3000)),
    st.tuples(st.just("send"), st.none()),
    st.tuples(st.just("deliver"), st.tuples(st.integers(0, 5000), st.integers(0, 5000))),
    st.tuples(st.just("cut"), st.none()),
    st.tuples(st.just("greet"), st.none()),
    st.tuples(st.just("move"), st.integers(0, 5000)),
    st.tuples(st.just("wait"), st.none()),
)


@settings(deadline=None)
@given(st.lists(STEP, max_size=60))
def test_whatever_happens_to_transports_no_byte_is_lost_doubled_or_moved(
    steps: list[tuple[str, object]],
) -> None:
    link = Link()
    by_client, by_agent = bytearray(), bytearray()
    for action, argument in steps:
        if action == "client":
            assert isinstance(argument, bytes)
            link.client.write(argument)
            by_client += argument
        elif action == "agent":
            assert isinstance(argument, bytes)
            link.agent.write(argument)
            by_agent += argument
        elif action == "send":
            link.send()
        elif action == "deliver":
            assert isinstance(argument, tuple)
            link.deliver(*argument)
        elif action == "cut":
            link.attach()
        elif action == "greet":
            link.greet()
        elif action == "move":
            assert isinstance(argument, int)
            link.move(argument)
        else:
            link.now += 0.06
        assert by_client.startswith(link.got_by_agent)
        assert by_agent.startswith(link.got_by_client)
    link.client.end()
    link.agent.end()
    link.settle()
    assert link.got_by_agent == by_client
    assert link.got_by_client == by_agent
    assert link.client.complete
    assert link.agent.complete
    assert link.client.outbox.unacked == link.agent.outbox.unacked == 0


def _cut_after(count: int) -> Link:
    """A short exchange whose first transport carries `count` bytes a direction and no more."""
    link = Link()
    link.client.write(b"request")
    link.client.end()
    link.agent.write(b"answer, a longer one")
    link.agent.end()
    link.send()
    link.deliver(count, count)
    link.attach()
    return link


@pytest.mark.parametrize("count", range(70))
def test_a_cut_after_every_byte_is_repaired(count: int) -> None:
    link = _cut_after(count)
    link.settle()
    assert bytes(link.got_by_agent) == b"request"
    assert bytes(link.got_by_client) == b"answer, a longer one"
    assert link.client.complete
    assert link.agent.complete


def test_a_replay_onto_the_same_transport_is_dropped() -> None:
    link = Link()
    link.client.write(b"once")
    link.send()
    repeated = bytes(link.wire.to_agent)
    link.deliver()
    assert link.agent.receive(repeated, link.now) == []
    assert bytes(link.got_by_agent) == b"once"


def test_data_from_the_future_is_refused_and_nothing_is_taken() -> None:
    state = StreamState()
    state.attach(0, 1.0)
    with pytest.raises(ProtocolError) as caught:
        state.receive(frames.encode_header(frames.DATA, 5, 1) + b"x", 1.0)
    assert caught.value.code == "data_out_of_order"
    assert state.inbox.received == 0


@given(st.floats(0, 1e7))
@example(3.2)
def test_a_silent_transport_is_asked_when_it_says_that_it_will_be(now: float) -> None:
    """Who wakes then and finds nothing to do would not sleep again."""
    state = StreamState()
    state.attach(0, now)
    wake_at = state.wake_at(now)
    assert state.tick(wake_at)
    assert state.due(wake_at)
    assert state.wake_at(wake_at) > wake_at


def test_what_came_with_a_fault_comes_again() -> None:
    """Else it would count as received, and nobody has it."""
    data = frames.encode_header(frames.DATA, 0, 5) + b"hello" + frames.encode_header(frames.FIN, 5)
    state = StreamState()
    state.attach(0, 1.0)
    with pytest.raises(ProtocolError):
        state.receive(data + frames.encode_header(frames.ACK, 3), 1.0)
    assert state.inbox.position == 0
    state.attach(0, 1.0)
    assert b"".join(state.receive(data, 1.0)) == b"hello"
    assert state.inbox.position == 6


def test_data_beyond_the_end_is_refused() -> None:
    state = StreamState()
    state.attach(0, 1.0)
    state.receive(frames.encode_header(frames.FIN, 0), 1.0)
    with pytest.raises(ProtocolError) as caught:
        state.receive(frames.encode_header(frames.DATA, 0, 1) + b"x", 1.0)
    assert caught.value.code == "data_after_end"


def test_an_ack_for_what_was_never_sent_is_refused() -> None:
    state = StreamState()
    state.attach(0, 1.0)
    state.write(b"abc")
    with pytest.raises(ProtocolError) as caught:
        state.receive(frames.encode_header(frames.ACK, 3), 1.0)
    assert caught.value.code == "ack_out_of_range"


@pytest.mark.parametrize("position", [0, 99])
def test_a_peer_that_wants_what_is_gone_or_was_never_there_is_refused(position: int) -> None:
    link = Link()
    link.client.write(b"x" * 10)
    link.settle()
    before = (link.client.outbox.start, link.client.outbox.end)
    with pytest.raises(ProtocolError) as caught:
        link.client.attach(position, link.now)
    assert caught.value.code == "offset_gone"
    assert (link.client.outbox.start, link.client.outbox.end) == before


def test_who_writes_after_its_own_end_is_told_that_the_fault_is_its_own() -> None:
    """A ProtocolError would say that the peer has broken the protocol."""
    state = StreamState()
    state.end()
    with pytest.raises(RuntimeError):
        state.write(b"more")
    assert state.outbox.end == 0


def test_the_payload_is_kept_by_reference() -> None:
    state = StreamState()
    state.attach(0, 1.0)
    data = bytes(1000)
    state.write(data)
    _, payload = state.pieces(1.0)
    assert isinstance(payload, memoryview)
    assert payload.obj is data


def test_a_full_window_leaves_no_room_until_it_is_acknowledged() -> None:
    link = Link()
    assert link.client.room == WINDOW_MIN
    link.client.write(bytes(WINDOW_MIN))
    assert link.client.room == 0
    link.settle()
    assert link.client.room >= WINDOW_MIN


def test_a_fast_beginning_waits_for_no_timer() -> None:
    """Where acks became rare before the window was large, the writer stood still for 50 ms."""
    link, block, waited = Link(), bytes(256 * 1024), 0.0
    while link.client.outbox.end < 16_000_000:
        if link.client.room > 0:
            link.client.write(block)
            link.now += 60e-6
        else:
            wake_at = min(link.client.wake_at(link.now), link.agent.wake_at(link.now))
            waited += wake_at - link.now
            link.now = wake_at
        for _ in range(2):
            link.send()
            link.deliver(frames.READ_BYTES)
    assert waited < ACK_EVERY_S


@settings(deadline=None, max_examples=10)
@given(st.integers(10_000, 5_000_000))
def test_a_reader_that_is_slow_for_a_minute_has_little_unread(rate: int) -> None:
    """The window was doubled every ten seconds: its round trip was that of what waited here."""
    writer, reader = StreamState(), StreamState()
    writer.attach(0, 1.0)
    reader.attach(0, 1.0)
    unread = 0
    for step in range(1200):
        now = 1.0 + step / 20
        while writer.room > 0:
            writer.write(bytes(64 * 1024))
        while sent := writer.pieces(now):
            unread += sum(map(len, reader.receive(b"".join(sent), now)))
        assert unread <= 2 * WINDOW_MIN
        taken = min(unread, rate // 20)
        unread -= taken
        reader.consumed(taken, now)
        writer.receive(b"".join(reader.pieces(now)), now)


def test_a_reset_says_why_and_nothing_can_be_written_after_it() -> None:
    link = Link()
    link.agent.reset("limit_reached", "detached for 12 hours")
    link.send()
    link.deliver()
    assert link.client.closed == ("limit_reached", "detached for 12 hours")
    with pytest.raises(RuntimeError):
        link.agent.write(b"x")


def test_a_silent_transport_is_asked_and_then_given_up() -> None:
    state = StreamState()
    state.attach(0, 100.0)
    assert state.tick(100.0 + PING_S - 0.1)
    assert not state.due(100.0 + PING_S - 0.1)
    assert state.tick(100.0 + PING_S)
    (ping,) = state.pieces(100.0 + PING_S)
    assert ping[0] == frames.PING
    assert not state.tick(100.0 + DEAD_S)


def test_a_ping_is_answered_with_its_value() -> None:
    state = StreamState()
    state.attach(0, 1.0)
    state.receive(frames.encode_header(frames.PING, 77), 1.0)
    assert state.pieces(1.0) == [frames.encode_header(frames.PONG, 77)]


@given(st.lists(st.binary(max_size=400), max_size=8))
def test_garbage_is_a_protocol_error_and_takes_no_memory(pieces: list[bytes]) -> None:
    state = StreamState()
    state.attach(0, 1.0)
    for piece in pieces:
        try:
            state.receive(piece, 1.0)
        except ProtocolError:
            return
        assert len(state._parser._buffer) <= frames.HEADER_BYTES + frames.REASON_MAX


def test_an_offer_is_made_on_every_transport_and_when_it_changes() -> None:
    link, heard = Link(), list[bytes]()
    link.client.on_offer = heard.append
    link.agent.offer(b"off not yet")
    link.send()
    link.deliver()
    link.agent.offer(b"at - 10.0.0.5:40022")
    link.attach()
    link.send()
    link.deliver()
    assert heard == [b"off not yet", b"at - 10.0.0.5:40022"]


def test_a_direct_transport_is_given_up_sooner() -> None:
    state = StreamState()
    state.attach(0, 100.0, direct=True)
    assert state.tick(100.0 + DIRECT_PING_S)
    assert state.due(100.0 + DIRECT_PING_S)
    assert not state.tick(100.0 + DIRECT_DEAD_S)
    state.attach(0, 200.0)
    assert state.tick(200.0 + DIRECT_DEAD_S)


def test_a_move_to_a_direct_path_forgives_a_position_that_has_become_old() -> None:
    link = Link()
    link.client.write(b"acknowledged since, ")
    greeted_with = link.agent.inbox.position
    link.settle()
    link.client.write(b"and not yet")
    link.client.attach(greeted_with, link.now, direct=True)
    (_, payload) = link.client.pieces(link.now)[-2:]
    assert bytes(payload) == b"and not yet"


def test_an_ack_of_what_the_transport_before_brought_is_right_however_early_it_comes() -> None:
    """Refused, it cost the direct path that it came on, and another move."""
    link = Link()
    link.greet()
    link.agent.write(b"on the relay")
    link.send()
    link.deliver()
    link.move()
    link.now = link.client.wake_at(link.now)
    link.wire.to_agent += b"".join(link.client.pieces(link.now))
    link.deliver()
    assert link.agent.pieces(link.now) == []
    assert link.agent.outbox.unacked == 0


def test_pings_of_who_reads_nothing_are_not_all_kept() -> None:
    state = StreamState()
    state.attach(0, 1.0)
    state.receive(frames.encode_header(frames.PING, 7) * 100_000, 1.0)
    answers = state.pieces(1.0)
    assert answers
    assert sum(map(len, answers)) < 2000
