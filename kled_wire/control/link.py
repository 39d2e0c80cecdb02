"""A WebSocket as a typed channel of control messages, the same at both ends.

One reader: `receive` answers pings and unknown types by itself and gives everything else to its
caller. Writers may be many; each send has a deadline, so a peer that stops reading is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import trio
import trio_websocket

from kled_wire import limits
from kled_wire.control import codec, messages
from kled_wire.errors import ProtocolError, UnavailableError


class CloseCode(IntEnum):
    """Why a link was closed: WebSocket codes (RFC 6455, section 7.4) and our own, 4000 up."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    TOO_LARGE = 1009
    TOKEN_REFUSED = 4001
    REPLACED = 4002
    VERSION_UNSUPPORTED = 4003
    TOO_SLOW = 4004
    DEAD_PEER = 4005


# trio-websocket reads this much at a time and keeps it per link; control messages are small.
RECEIVE_BUFFER_BYTES: Final = 4096
MESSAGE_QUEUE: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTimes:
    """How long an end of a link waits for the other, in seconds.

    `hello_s` is for the first message, `reply_s` for an answer and for the peer to read a message.
    After that `cleanup_s` is for a slow peer to read again, `goodbye_s` for its answer to a close.
    """

    hello_s: float = limits.HELLO_TIMEOUT_S
    reply_s: float = limits.REPLY_TIMEOUT_S
    cleanup_s: float = limits.CLEANUP_S
    goodbye_s: float = limits.GOODBYE_S


LINK_TIMES: Final = LinkTimes()


class LinkClosed(Exception):  # noqa: N818 - a fact, not a fault
    """The link has ended; `code` and `reason` are the closing side's, or 1006 when it broke."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class ControlLink:
    """One open WebSocket. Made by `control/link.py` at either end; not shared between links."""

    __slots__ = ("_connection", "_ended", "_next_ping", "_pongs", "_times")

    def __init__(
        self, connection: trio_websocket.WebSocketConnection, times: LinkTimes = LINK_TIMES
    ) -> None:
        self._connection = connection
        self._times = times
        self._ended: LinkClosed | None = None
        self._pongs: dict[int, trio.Event] | None = None
        self._next_ping = 0

    async def send(self, message: messages.Message) -> None:
        """Send one message. Raises LinkClosed, also when the peer takes too long to read it.

        Not cancelled half-way, as half a frame would make nonsense of the next one. A peer that
        takes longer than `reply_s` is told so where it reads again within `cleanup_s`; else
        nothing can be told, and the connection is cut.
        """
        began = trio.current_time()
        try:
            with trio.fail_after(self._times.reply_s + self._times.cleanup_s, shield=True):
                await self._connection.send_message(codec.encode(message))
        except trio.TooSlowError as exc:
            self._ended = _too_slow()
            await trio.aclose_forcefully(self._connection)
            raise self._ended from exc
        except trio_websocket.ConnectionClosed as exc:
            raise self._closed(exc) from exc
        if trio.current_time() - began > self._times.reply_s:
            self._ended = _too_slow()
            await self.close(CloseCode.TOO_SLOW, self._ended.reason)
            raise self._ended

    async def receive(self) -> messages.Message:
        """The next message for our caller; pings, pongs and unknown types are dealt with here.

        Raises LinkClosed, and ProtocolError after which the caller must `close`.
        """
        while True:
            try:
                data = await self._connection.get_message()
            except trio_websocket.ConnectionClosed as exc:
                raise self._closed(exc) from exc
            if not isinstance(data, bytes):
                raise ProtocolError("message_not_cbor", "a text message on the control plane")
            message = codec.decode(data)
            if isinstance(message, messages.Pong):
                self._resolve(message.id)
            elif isinstance(message, messages.UnknownMessage):
                await self.send(messages.Unsupported(of=message.of))
            else:
                if isinstance(message, messages.Ping):
                    await self.send(messages.Pong(id=message.id))
                return message

    async def ping(self, *, rtt_s: float = 0.0) -> float:
        """Seconds until the peer's Pong. Someone else must be in `receive`.

        Raises UnavailableError("peer_silent") when none comes in time, and LinkClosed.
        """
        self._next_ping += 1
        number, answered = self._next_ping, trio.Event()
        if self._pongs is None:
            self._pongs = {}
        self._pongs[number] = answered
        began = trio.current_time()
        try:
            await self.send(messages.Ping(id=number, rtt_s=rtt_s))
            with trio.fail_after(self._times.reply_s):
                await answered.wait()
        except trio.TooSlowError as exc:
            raise UnavailableError("peer_silent", "the peer does not answer") from exc
        finally:
            self._pongs.pop(number, None)
        return trio.current_time() - began

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close with a reason (at most 123 bytes arrive). Bounded in time, safe when cancelled."""
        with trio.move_on_after(self._times.goodbye_s) as scope:
            scope.shield = True
            await self._connection.aclose(
                code=int(code), reason=reason.encode()[:123].decode("utf-8", "ignore")
            )

    def _closed(self, exc: trio_websocket.ConnectionClosed) -> LinkClosed:
        if self._ended is not None:
            return self._ended
        if exc.reason is None:
            return LinkClosed(1006, "the connection broke")
        return LinkClosed(int(exc.reason.code), str(exc.reason.reason or ""))

    def _resolve(self, number: int) -> None:
        if self._pongs is not None and number in self._pongs:
            self._pongs[number].set()


def _too_slow() -> LinkClosed:
    return LinkClosed(CloseCode.TOO_SLOW, "the peer reads too slowly")


def close_code_for(error: ProtocolError) -> CloseCode:
    """The WebSocket code that goes with a protocol error."""
    if error.code == "message_too_large":
        return CloseCode.TOO_LARGE
    return CloseCode.PROTOCOL_ERROR
