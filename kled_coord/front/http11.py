"""HTTP/1.1 by Hypercorn and h11, behind our own strict parser of heads.

h11 takes folded headers, bare LF and repeated lengths, about which proxies disagree (request
smuggling). So every request of a connection gets an h11 connection of its own, which is given the
head once `parse_request` has taken it; what follows the request is the next one's.
"""

from __future__ import annotations

import math
from typing import Any, Final

import h11
import structlog
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol

from kled_wire import limits
from kled_wire.errors import ProtocolError
from kled_wire.http.heads import head_length
from kled_wire.http.upgrade import encode_error, parse_request

_NOTHING_MORE: Final = (h11.MUST_CLOSE, h11.CLOSED)

log = structlog.get_logger(__name__)


class Http11(H11Protocol):
    """Serves the requests of one connection; never turns into HTTP/2.

    A head must be whole within `head_s` seconds of its first byte.
    """

    connection: _Request

    def __init__(self, app: Any, config: HypercornConfig, *rest: Any, head_s: float) -> None:
        super().__init__(app, config, *rest)
        self._head_s = head_s
        self.connection = _Request()
        # Received and not yet given to h11.
        self._unread = bytearray()
        self._head_deadline = math.inf
        self._refused = False
        self._is_over = False

    @property
    def head_deadline(self) -> float:
        """When the head that has begun to come must be whole."""
        return self._head_deadline

    @property
    def is_cut_short(self) -> bool:
        """Whether the peer may still be sending what nobody takes any more."""
        return self._refused or self.connection.their_state in {h11.SEND_BODY, h11.ERROR}

    async def handle(self, event: Event) -> None:
        """Take what was received, or that the connection is over."""
        if not isinstance(event, RawData):
            self._is_over = True
            await super().handle(event)
        elif event.data:
            self._unread += event.data
            await self._feed()
        else:
            self.connection.receive_data(b"")
            await self._handle_events()

    async def refuse(self, error: ProtocolError) -> None:
        """Answer a request whose head was not taken, and end the connection."""
        log.info("request_refused", address=(self.client or ("",))[0], code=error.code)
        self._unread.clear()
        self._refused = True
        await self.send(RawData(encode_error(error)))
        await self.send(Closed())

    async def _feed(self) -> None:
        while self._unread:
            if self.connection.their_state in _NOTHING_MORE:
                self._unread.clear()  # RFC 9112, section 9.6: nothing follows `close`
            elif self.connection.their_state is not h11.IDLE:
                self._give(len(self._unread))
                await self._handle_events()
            elif not await self._feed_head():
                return

    async def _feed_head(self) -> bool:
        """Give h11 the head that has come, if it is whole and right."""
        try:
            length = head_length(self._unread)
            if length is None:
                deadline = trio.current_time() + self._head_s
                self._head_deadline = min(self._head_deadline, deadline)
                return False
            parse_request(bytes(self._unread[:length]))
        except ProtocolError as error:
            await self.refuse(error)
            return False
        self._head_deadline = math.inf
        self._give(length)
        await self._handle_events()
        return True

    def _give(self, length: int) -> None:
        self.connection.receive_data(bytes(self._unread[:length]))
        del self._unread[:length]

    async def _maybe_recycle(self) -> None:
        """The answer is out: the next request, or the end.

        Shielded: an application that hears that its request is over may cancel itself in here.
        """
        with trio.CancelScope(shield=True):
            await self._recycle()

    async def _recycle(self) -> None:
        await self._close_stream()
        states = self.connection.our_state, self.connection.their_state
        if self._is_over or self.context.terminated.is_set() or states != (h11.DONE, h11.DONE):
            await self.can_read.set()
            await self.send(Closed())
            return
        self._unread[:0] = self.connection.trailing_data[0]
        self.connection = _Request()
        await self.can_read.set()
        await self.send(Updated(idle=True))

    async def _create_stream(self, request: h11.Request) -> None:
        """Without `Connection` Hypercorn makes no WebSocket of it: the application refuses those.

        h11 has taken from that header whether the connection goes on.
        """
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=[pair for pair in request.headers if pair[0] != b"connection"],
                http_version=request.http_version,
            )
        )

    async def _check_protocol(self, _event: h11.Request) -> None:
        await trio.lowlevel.checkpoint()


class _Request(h11.Connection):
    """One request and its answer."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=limits.HEAD_MAX_BYTES)

    def next_event(self) -> Any:
        """As h11's, but what follows the last request of a connection is no error.

        Trailers are refused: nothing here asks for one, and h11 takes bare LF in them too.
        """
        if self.their_state in _NOTHING_MORE:
            return h11.NEED_DATA
        event = super().next_event()
        if isinstance(event, h11.EndOfMessage) and event.headers:
            # As h11 does for its own errors: what the application answers after this is dropped.
            self._process_error(self.their_role)
            raise h11.RemoteProtocolError("trailers are not supported")
        return event
