"""The window never offers more than what is not yet held."""

from __future__ import annotations

from typing import Any

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_client.ssh import channel as session_channel
from kled_wire.limits import SSH_PACKET_BYTES, SSH_WINDOW_BYTES
from kled_wire.ssh.channel_stream import ChannelStream
from kled_wire.ssh.window import MSG_CHANNEL_WINDOW_ADJUST, bound_window

OFFERED = 1000


class Channel:
    """What asyncssh's channel has of it: a window, what it holds, a session."""

    def __init__(self) -> None:
        self._init_recv_window = OFFERED
        self._recv_window = OFFERED
        self._recv_buf: list[tuple[bytes, None]] = []
        self._recv_state = "open"
        self._send_paused = False
        self._session = self
        self._deliver_data: Any = None
        self.told: list[str] = []
        self.paused = False
        self.taken = 0
        self.peer_may_send = OFFERED

    def send_packet(self, kind: int, adjust: bytes) -> None:
        assert kind == MSG_CHANNEL_WINDOW_ADJUST
        self.peer_may_send += int.from_bytes(adjust, "big")

    def _close_send(self) -> None:
        self.told.append("closed")

    def resume_writing(self) -> None:
        self.told.append("room")

    def process_connection_close(self, _error: Exception | None) -> None:
        self.told.append("lost")

    def eof_received(self) -> None:
        self.told.append("end")

    def data_received(self, data: bytes, _datatype: int | None) -> None:
        self.taken += len(data)

    def arrive(self, size: int) -> None:
        """As asyncssh's _accept_data."""
        data = bytes(min(size, self.peer_may_send))
        self.peer_may_send -= len(data)
        self._recv_window -= len(data)
        if self.paused:
            self._recv_buf.append((data, None))
        else:
            self._deliver_data(data, None)

    def resume(self, blocks: int) -> None:
        """As asyncssh's resume_reading, with a session that pauses again after some blocks."""
        for _ in range(blocks):
            if self._recv_buf:
                self._deliver_data(*self._recv_buf.pop(0))


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans(), st.integers(0, 3))))
def test_what_is_held_and_what_may_come_are_what_was_offered_or_half_of_it_at_least(
    steps: list[tuple[int, bool, int]],
) -> None:
    channel = Channel()
    bound_window(channel)
    for size, paused, blocks in steps:
        channel.paused = paused or bool(channel._recv_buf)
        channel.arrive(size)
        channel.resume(blocks)
        held = sum(len(block) for block, _ in channel._recv_buf)
        assert OFFERED // 2 <= held + channel.peer_may_send <= OFFERED


def test_a_reader_that_keeps_up_is_never_held_back() -> None:
    channel = Channel()
    bound_window(channel)
    for _ in range(100):
        channel.arrive(300)
    assert channel.taken == 100 * 300


def test_a_writer_that_waits_for_room_is_told_when_the_channel_is_closed() -> None:
    channel = Channel()
    bound_window(channel)
    channel._send_paused = True
    channel._close_send()
    assert channel.told == ["closed", "room"]


def test_the_end_of_the_connection_comes_after_what_was_held() -> None:
    channel = Channel()
    bound_window(channel)
    channel.paused = True
    channel.arrive(300)
    channel._recv_state = "eof_pending"
    channel.process_connection_close(None)
    assert (channel.taken, channel.told) == (300, ["end", "lost"])


class Peer:
    """What asyncssh's own channel needs of its connection: where the peer is told of room."""

    logger = asyncssh.logging.logger

    def __init__(self) -> None:
        self.may_send = SSH_WINDOW_BYTES

    def add_channel(self, _channel: object) -> int:
        return 0

    def send_packet(self, kind: int, payload: bytes, **_: object) -> None:
        if kind == MSG_CHANNEL_WINDOW_ADJUST:
            self.may_send += int.from_bytes(payload[4:], "big")

    def open(self, session: ChannelStream | session_channel.Channel) -> Any:
        """asyncssh's channel, from which `session` is fed."""
        make: Any = asyncssh.SSHTCPChannel
        channel = make(self, None, None, "strict", SSH_WINDOW_BYTES, SSH_PACKET_BYTES)
        channel._send_state, channel._send_chan, channel._recv_paused = "open", 0, False
        channel._session = session
        session.connection_made(channel)
        return channel

    def send_all_it_may(self, channel: Any) -> None:
        while self.may_send:
            data = bytes(min(self.may_send, SSH_PACKET_BYTES))
            self.may_send -= len(data)
            channel._accept_data(data)


@pytest.mark.parametrize("make", [ChannelStream, session_channel.Channel])
async def test_what_waits_for_a_slow_reader_is_bounded(
    make: type[ChannelStream | session_channel.Channel],
) -> None:
    peer, session = Peer(), make()
    channel = peer.open(session)
    for _ in range(100):
        peer.send_all_it_may(channel)
        held = sum(len(block) for block, _ in channel._recv_buf)
        assert held <= SSH_WINDOW_BYTES
        if isinstance(session, ChannelStream):
            await session.receive_some(SSH_PACKET_BYTES)
        else:
            await session.receive()


async def test_what_is_sent_to_a_peer_that_has_closed_does_not_end_the_reading() -> None:
    peer, session = Peer(), session_channel.Channel()
    channel = peer.open(session)
    peer.send_all_it_may(channel)
    channel._close_send()
    await session.send(b"too late")
    received = await session.receive()
    assert received is not None
    assert len(received[0]) >= SSH_WINDOW_BYTES // 2
