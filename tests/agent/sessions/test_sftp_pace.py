"""sftp-server never has more than a little ahead of its answers, and never waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_agent.sessions.sftp_pace import AHEAD_BYTES, Messages, SftpPace

SMALL = st.integers(0, 50)
SIZES = st.lists(st.one_of(st.integers(0, 5000), st.just(256 * 1024)), max_size=20)


def _message(size: int) -> bytes:
    return size.to_bytes(4, "big") + bytes(size)


@given(st.lists(SMALL), st.lists(st.integers(1, 70), min_size=1))
def test_messages_are_found_however_they_are_cut(sizes: list[int], cuts: list[int]) -> None:
    data, messages, turn = b"".join(map(_message, sizes)), Messages(), 0
    found: list[int] = []
    while data:
        cut = cuts[turn % len(cuts)]
        found += messages.begun(data[:cut])
        data, turn = data[cut:], turn + 1
    assert found == [size + 4 for size in sizes]


@given(SIZES, st.integers(10_000, 600_000))
def test_all_requests_go_in_and_what_is_ahead_is_bounded(sizes: list[int], block: int) -> None:
    waiting, pace, server, told = b"".join(map(_message, sizes)), SftpPace(), bytearray(), []
    full = False
    pace.on_room = lambda: told.append(True)
    while waiting or server:
        step = b"" if full else waiting[: min(block, pace.room())]
        pace.given(step)
        server += step
        waiting = waiting[len(step) :]
        assert len(server) <= AHEAD_BYTES
        whole = int.from_bytes(server[:4], "big") + 4
        if len(server) >= max(whole, 4):  # the server answers its first whole request
            del server[:whole]
            told.clear()
            full = pace.room() == 0 or (full and not told)
            pace.answered(_message(20))
            full = full and not told
        else:
            assert step or not waiting, "nothing is answered and nothing may go in"
            if not waiting:
                break
    assert not waiting


def test_what_is_no_sftp_is_given_without_waiting() -> None:
    pace = SftpPace()
    pace.given(b"GET / HTTP/1.1\r\n\r\n")
    assert pace.room() == AHEAD_BYTES
