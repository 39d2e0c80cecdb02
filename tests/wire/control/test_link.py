"""A control link against a bare WebSocket as its peer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import cbor2
import pytest
import trio
import trio.testing
import trio_websocket

from kled_wire import limits
from kled_wire.control import codec, messages
from kled_wire.control.link import (
    LINK_TIMES,
    CloseCode,
    ControlLink,
    LinkClosed,
    LinkTimes,
    close_code_for,
)
from kled_wire.errors import ProtocolError, UnavailableError
from tests.wire import sockets

# Near to the limit of a message, in texts that each keep to theirs.
LARGE = messages.SetKeys(
    number=1,
    keys=tuple(
        messages.UserKey(id=str(n), user="u", key="x" * 4000, expires_in_s=1.0) for n in range(225)
    ),
)


@dataclass
class Ends:
    """A link and the WebSocket it talks to."""

    link: ControlLink
    peer: trio_websocket.WebSocketConnection
    got: list[messages.Message] = field(default_factory=list)

    async def say(self, message: messages.Message) -> None:
        await self.peer.send_message(codec.encode(message))

    async def hear(self) -> messages.Message:
        data = await self.peer.get_message()
        assert isinstance(data, bytes)
        return codec.decode(data)


@asynccontextmanager
async def _open(times: LinkTimes = LINK_TIMES) -> AsyncIterator[Ends]:
    near, far = sockets.pair()
    async with trio.open_nursery() as nursery:
        made: list[trio_websocket.WebSocketConnection] = []

        async def serve() -> None:
            request = await trio_websocket.wrap_server_stream(
                nursery,
                far,
                max_message_size=limits.CONTROL_MESSAGE_MAX_BYTES,
            )
            made.append(await request.accept())

        async with trio.open_nursery() as opening:
            opening.start_soon(serve)
            peer = await trio_websocket.wrap_client_stream(nursery, near, "h", "/")
        yield Ends(link=ControlLink(made[0], times), peer=peer)
        nursery.cancel_scope.cancel()


async def test_messages_go_both_ways_in_order() -> None:
    async with _open() as ends:
        for number in range(3):
            await ends.link.send(messages.Unsupported(of=str(number)))
            await ends.say(messages.Unsupported(of=str(-number)))
        heard = [await ends.hear() for _ in range(3)]
        received = [await ends.link.receive() for _ in range(3)]
    assert heard == [messages.Unsupported(of=str(n)) for n in range(3)]
    assert received == [messages.Unsupported(of=str(-n)) for n in range(3)]


async def test_a_ping_is_answered_and_told_to_the_caller() -> None:
    async with _open() as ends:
        await ends.say(messages.Ping(id=7, rtt_s=0.5))
        assert await ends.link.receive() == messages.Ping(id=7, rtt_s=0.5)
        assert await ends.hear() == messages.Pong(id=7)


async def test_an_unknown_type_is_answered_with_unsupported_and_the_link_goes_on() -> None:
    async with _open() as ends:
        await ends.peer.send_message(cbor2.dumps({"type": "news_of_1_1", "x": 1}))
        await ends.say(messages.Unsupported(of="ours"))
        assert await ends.link.receive() == messages.Unsupported(of="ours")
        assert await ends.hear() == messages.Unsupported(of="news_of_1_1")


async def test_pings_at_the_same_time_each_get_their_own_pong() -> None:
    async with _open() as ends, trio.open_nursery() as nursery:
        took: list[float] = []

        async def ping() -> None:
            took.append(await ends.link.ping(rtt_s=0.25))

        nursery.start_soon(ends.link.receive)
        nursery.start_soon(ping)
        nursery.start_soon(ping)
        asked = [await ends.hear(), await ends.hear()]
        ids = [ping.id for ping in asked if isinstance(ping, messages.Ping)]
        assert len(set(ids)) == 2
        for number in (999, *reversed(ids)):  # nobody waits for 999
            await ends.say(messages.Pong(id=number))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(took) == 2
        assert all(0 <= seconds < 5 for seconds in took)
        nursery.cancel_scope.cancel()


async def test_a_ping_without_an_answer_says_that_the_peer_is_silent() -> None:
    async with _open(LinkTimes(reply_s=0.05)) as ends:
        with pytest.raises(UnavailableError) as caught:
            await ends.link.ping()
    assert caught.value.code == "peer_silent"


async def test_a_peer_that_does_not_read_ends_the_link_for_everybody() -> None:
    times = LinkTimes(reply_s=0.05, cleanup_s=0.05)
    async with _open(times) as ends, trio.open_nursery() as nursery:
        ended: list[int] = []

        async def receive() -> None:
            with pytest.raises(LinkClosed) as caught:
                await ends.link.receive()
            ended.append(caught.value.code)

        nursery.start_soon(receive)

        async def flood() -> None:
            while True:
                await ends.link.send(messages.Unsupported(of="x" * 500_000))

        with pytest.raises(LinkClosed) as caught, trio.fail_after(10):
            await flood()
        assert caught.value.code == CloseCode.TOO_SLOW
        with pytest.raises(LinkClosed):
            await ends.link.send(messages.Pong(id=1))
    assert ended == [CloseCode.TOO_SLOW]


async def test_a_peer_that_reads_too_slowly_is_told_so() -> None:
    async with _open(LinkTimes(reply_s=0.0)) as ends, trio.open_nursery() as nursery:
        told: list[int] = []

        async def read_late() -> None:
            await trio.testing.wait_all_tasks_blocked(0.01)
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                while True:
                    await ends.peer.get_message()
            assert ends.peer.closed is not None
            told.append(ends.peer.closed.code)

        nursery.start_soon(read_late)
        with pytest.raises(LinkClosed) as caught, trio.fail_after(10):
            await ends.link.send(LARGE)
        assert caught.value.code == CloseCode.TOO_SLOW
    assert told == [CloseCode.TOO_SLOW]


async def test_a_cancelled_send_leaves_no_half_frame_behind() -> None:
    async with _open() as ends, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(_cancel_when_blocked, scope, ends)
            await ends.link.send(LARGE)
        await ends.link.send(messages.Pong(id=5))
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert [type(m) for m in ends.got] == [messages.SetKeys, messages.Pong]


async def _cancel_when_blocked(scope: trio.CancelScope, ends: Ends) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()
    for _ in range(2):
        ends.got.append(await ends.hear())


@pytest.mark.parametrize(
    "code", [CloseCode.REPLACED, CloseCode.TOKEN_REFUSED, CloseCode.GOING_AWAY]
)
async def test_a_close_arrives_with_its_code_and_reason(code: CloseCode) -> None:
    async with _open() as ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.link.close, code, "because")
            with pytest.raises(trio_websocket.ConnectionClosed) as caught:
                await ends.peer.get_message()
        assert caught.value.reason is not None
        assert (caught.value.reason.code, caught.value.reason.reason) == (int(code), "because")


async def test_a_long_reason_is_cut_to_what_a_close_frame_holds() -> None:
    async with _open() as ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.link.close, CloseCode.PROTOCOL_ERROR, "\u00fc" * 100)
            with pytest.raises(trio_websocket.ConnectionClosed) as caught:
                await ends.peer.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.reason == "\u00fc" * 61


async def test_the_peers_close_is_told_with_code_and_reason() -> None:
    async with _open() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ends.peer.aclose, 4002, "newer")
        with pytest.raises(LinkClosed) as caught:
            await ends.link.receive()
        assert (caught.value.code, caught.value.reason) == (4002, "newer")
        with pytest.raises(LinkClosed):
            await ends.link.send(messages.Pong(id=1))
        with pytest.raises(LinkClosed):
            await ends.link.ping()


async def test_a_connection_that_just_ends_is_1006() -> None:
    async with _open() as ends:
        await ends.peer._stream.aclose()
        with pytest.raises(LinkClosed) as caught:
            await ends.link.receive()
    assert caught.value.code == 1006


async def test_closing_twice_and_after_the_peer_is_harmless() -> None:
    async with _open() as ends:
        await ends.peer._stream.aclose()
        await ends.link.close(CloseCode.NORMAL, "")
        await ends.link.close(CloseCode.NORMAL, "")


@pytest.mark.parametrize("said", ["text", b"\xff", b"", cbor2.dumps([1])])
async def test_what_is_no_message_is_a_protocol_error(said: str | bytes) -> None:
    async with _open() as ends:
        await ends.peer.send_message(said)
        with pytest.raises(ProtocolError) as caught:
            await ends.link.receive()
    assert close_code_for(caught.value) == CloseCode.PROTOCOL_ERROR


async def test_a_message_over_the_limit_closes_with_1009() -> None:
    async with _open() as ends, trio.open_nursery() as nursery:

        async def send() -> None:
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                await ends.peer.send_message(bytes(limits.CONTROL_MESSAGE_MAX_BYTES + 1))
                await ends.peer.get_message()
            assert ends.peer.closed is not None
            assert ends.peer.closed.code == 1009

        nursery.start_soon(send)
        with pytest.raises(LinkClosed):
            await ends.link.receive()


def test_a_message_that_the_decoder_finds_too_large_is_1009_as_well() -> None:
    assert close_code_for(ProtocolError("message_too_large", "")) == CloseCode.TOO_LARGE
