"""The layer of WebSocket binary messages at the server's side. No I/O.

The other end is kled_wire/transport/wscarrier.py. The request has been answered before.
"""

from __future__ import annotations

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from kled_coord.offload.layer import LayerBrokenError


class WebSocketLayer:
    """A binary message carries bytes, an empty one is the half-close (RFC 6455, section 5)."""

    def __init__(self) -> None:
        self._connection = Connection(ConnectionType.SERVER)
        self._outgoing = bytearray()
        # Whether the message that is coming has had bytes in it.
        self._filled = False
        self.open = True
        self.ended = False
        self.finished = False

    def receive(self, data: bytes) -> list[bytes]:
        """As `Layer.receive`; an end without a closing frame is a break."""
        if not data:
            raise LayerBrokenError("the connection ended inside a WebSocket")
        try:
            self._connection.receive_data(data)
            return [piece for event in self._connection.events() if (piece := self._take_in(event))]
        except LocalProtocolError as exc:
            raise LayerBrokenError(str(exc)) from exc

    def _take_in(self, event: Event) -> bytes:
        if isinstance(event, BytesMessage):
            return self._take_bytes(event)
        if isinstance(event, Ping):
            self._outgoing += self._connection.send(event.response())
        elif isinstance(event, CloseConnection):
            self._answer_close(event)
        elif not isinstance(event, Pong):
            raise LayerBrokenError("a text message on a byte stream")
        return b""

    def _take_bytes(self, event: BytesMessage) -> bytes:
        if event.data and self.ended:
            raise LayerBrokenError("bytes after the half-close")
        self._filled = self._filled or bool(event.data)
        if event.message_finished:
            self.ended = self.ended or not self._filled
            self._filled = False
        return bytes(event.data)

    def _answer_close(self, event: CloseConnection) -> None:
        """A peer that breaks the protocol comes here too, with the code that it is told."""
        if self._connection.state in {ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING}:
            self._outgoing += self._connection.send(event.response())
        if event.code != CloseReason.NORMAL_CLOSURE:
            raise LayerBrokenError(event.reason or f"closed with {event.code}")
        self.ended = self.finished = True

    def send(self, data: bytes) -> None:
        """As `Layer.send`."""
        try:
            self._outgoing += self._connection.send(BytesMessage(data=data))
        except LocalProtocolError as exc:
            raise LayerBrokenError(str(exc)) from exc

    def send_eof(self) -> None:
        """As `Layer.send_eof`."""
        if self._connection.state is ConnectionState.OPEN:
            self._outgoing += self._connection.send(BytesMessage(data=b""))

    def close(self) -> None:
        """As `Layer.close`."""
        if self._connection.state is ConnectionState.OPEN:
            goodbye = CloseConnection(code=CloseReason.NORMAL_CLOSURE)
            self._outgoing += self._connection.send(goodbye)

    def take(self) -> bytes:
        """As `Layer.take`."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data
