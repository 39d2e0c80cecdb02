"""A forward's channel as a stream: what came is read whole, whatever ended it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from kled_wire.ssh.channel_stream import BUFFER_BYTES, ChannelStream


class Channel:
    """The part of asyncssh's channel that the stream uses."""

    _send_pktsize = 32 * 1024
    _close_send = process_connection_close = None

    def __init__(self, stream: ChannelStream, room_blocks: int = 1000) -> None:
        self._stream = stream
        self.room_blocks = room_blocks
        self.written: list[bytes] = []
        self.paused = self.ended = self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.room_blocks -= 1
        if not self.room_blocks:
            self._stream.pause_writing()

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


@pytest.fixture
def stream() -> ChannelStream:
    return ChannelStream()


async def _all(stream: ChannelStream) -> bytes:
    got = b""
    while data := await stream.receive_some():
        got += data
    return got


async def test_what_came_before_an_orderly_close_is_read_whole_and_ends(
    stream: ChannelStream,
) -> None:
    stream.connection_made(Channel(stream))
    stream.data_received(b"220 ready\n", None)
    stream.connection_lost(None)
    assert await _all(stream) == b"220 ready\n"


async def test_what_came_before_a_lost_connection_is_read_and_then_it_is_a_break(
    stream: ChannelStream,
) -> None:
    stream.connection_made(Channel(stream))
    stream.data_received(b"half", None)
    stream.connection_lost(OSError("gone"))
    assert await stream.receive_some() == b"half"
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()


async def test_what_is_sent_before_there_is_a_channel_waits_for_it(stream: ChannelStream) -> None:
    channel = Channel(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"early")
        await trio.testing.wait_all_tasks_blocked()
        stream.connection_made(channel)
    await stream.send_eof()
    assert (channel.written, channel.ended) == ([b"early"], True)


async def test_sending_waits_for_room_and_fails_once_the_peer_has_closed(
    stream: ChannelStream,
) -> None:
    channel = Channel(stream, room_blocks=2)
    stream.connection_made(channel)
    with pytest.RaisesGroup(trio.BrokenResourceError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(5 * Channel._send_pktsize))
            await trio.testing.wait_all_tasks_blocked()
            assert len(channel.written) == 2
            stream.connection_lost(None)
    await stream.wait_refused()


async def test_the_peer_is_paused_while_much_waits_here(stream: ChannelStream) -> None:
    channel = Channel(stream)
    stream.connection_made(channel)
    stream.data_received(bytes(BUFFER_BYTES), None)
    assert channel.paused
    while channel.paused:
        await stream.receive_some(64 * 1024)
    assert stream._size < BUFFER_BYTES // 2


async def test_closing_closes_the_channel_once_and_ends_who_reads(stream: ChannelStream) -> None:
    channel = Channel(stream)
    stream.connection_made(channel)
    await stream.aclose()
    stream.data_received(b"late", None)
    assert channel.closed
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


class Joined:
    """A channel that is joined to another; asyncssh calls back from its loop, and so does this."""

    _send_pktsize = 32 * 1024
    _close_send = process_connection_close = None

    def __init__(self, ours: ChannelStream, theirs: ChannelStream) -> None:
        self._ours, self._theirs = ours, theirs
        self._token = trio.lowlevel.current_trio_token()
        self.other: Joined | None = None
        self.closed = False

    def write(self, data: bytes) -> None:
        if self.closed:
            raise BrokenPipeError
        self._token.run_sync_soon(self._theirs.data_received, data, None)

    def write_eof(self) -> None:
        self._token.run_sync_soon(self._theirs.eof_received)

    def close(self) -> None:
        if not self.closed and self.other is not None:
            self.closed = self.other.closed = True
            for stream in (self._theirs, self._ours):
                self._token.run_sync_soon(stream.connection_lost, None)

    def pause_reading(self) -> None:
        """The other side of this has no window."""

    def resume_reading(self) -> None:
        """As `pause_reading`."""


async def test_it_is_a_half_closeable_stream() -> None:
    """Without a clogged pair: asyncssh's window opens with what is read, and this has none."""

    async def make() -> tuple[ChannelStream, ChannelStream]:
        await trio.lowlevel.checkpoint()
        near, far = ChannelStream(), ChannelStream()
        left, right = Joined(near, far), Joined(far, near)
        left.other, right.other = right, left
        near.connection_made(left)
        far.connection_made(right)
        return near, far

    await trio.testing.check_half_closeable_stream(make, None)
