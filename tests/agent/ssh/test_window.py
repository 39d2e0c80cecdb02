"""The window never offers more than what is not yet held."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kled_agent.ssh.window import MSG_CHANNEL_WINDOW_ADJUST, bound_window

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
def test_what_is_held_and_what_may_come_never_exceed_what_was_offered(
    steps: list[tuple[int, bool, int]],
) -> None:
    channel = Channel()
    bound_window(channel)
    for size, paused, blocks in steps:
        channel.paused = paused or bool(channel._recv_buf)
        channel.arrive(size)
        channel.resume(blocks)
        held = sum(len(block) for block, _ in channel._recv_buf)
        assert held + channel.peer_may_send <= OFFERED


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
