"""A peer that vanishes without a word ends its connection, also while bytes wait for it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import pytest
import trio
import trio.testing

from kled_coord.relay.splice.unanswered import UNANSWERED_S, end_when_unanswered
from kled_wire.resume.state import DEAD_S
from kled_wire.transport.prefixed import PrefixedStream
from tests.coord.relay.conftest import StreamPair
from tests.kit.network import why_not
from tests.kit.veth_pair import open_veth_pair

MISSING = why_not() or ("" if hasattr(socket, "TCP_USER_TIMEOUT") else "only on Linux")


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
async def test_bytes_that_nobody_acknowledges_break_the_connection() -> None:
    async with open_veth_pair() as pair:
        end_when_unanswered(pair.near, after_s=0.5)
        # The link goes down: no FIN, no reset, no error from the interface here.
        pair.there.ip("link", "set", pair.ends.right, "down")
        await pair.near.send_all(b"into the void")
        with trio.fail_after(60), pytest.raises(trio.BrokenResourceError) as broken:
            await pair.near.receive_some()
        # What is said is the last thing that went wrong: ARP's answer did not come either (tcp(7)).
        assert isinstance(broken.value.__cause__, OSError)
        assert broken.value.__cause__.errno in {errno.ETIMEDOUT, errno.EHOSTUNREACH}


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only on Linux")
async def test_the_socket_is_found_below_what_was_read_ahead(
    make_streams: Callable[[], StreamPair],
) -> None:
    near, far = make_streams()
    end_when_unanswered(PrefixedStream(b"", PrefixedStream(b"ahead", near)))
    option = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert near.getsockopt(*option) == UNANSWERED_S * 1000
    assert far.getsockopt(*option) == 0


def test_a_stream_without_a_socket_is_left_alone() -> None:
    end_when_unanswered(trio.testing.memory_stream_pair()[0])


def test_the_ends_have_given_up_long_before() -> None:
    assert UNANSWERED_S >= 4 * DEAD_S
