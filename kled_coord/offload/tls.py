"""The TLS layer of the server's side. No I/O."""

from __future__ import annotations

import ssl

from kled_coord.offload.layer import LayerBrokenError
from kled_wire.transport.tlssession import TlsSession


class TlsLayer:
    """A session that begins with the handshake; the half-close is close_notify.

    A connection that ends without one ends the reading all the same, as most programs do it; what
    must not be cut short unseen has an end of its own inside.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._session = TlsSession(context, server_side=True)
        self.open = False
        self.ended = False
        self.finished = False

    def receive(self, data: bytes) -> list[bytes]:
        """As `Layer.receive`."""
        if not data and self.open:
            # The session is not told: OpenSSL takes it for a fault and writes no more then.
            self.ended = True
            return []
        self._session.feed(data)
        try:
            if not self.open:
                self.open = self._session.handshake()
                if not self.open:
                    return []
            return self._read()
        except ssl.SSLError as exc:
            raise LayerBrokenError(str(exc)) from exc

    def _read(self) -> list[bytes]:
        pieces = []
        while piece := self._session.read():
            pieces.append(piece)
        self.ended = piece == b""
        return pieces

    def send(self, data: bytes) -> None:
        """As `Layer.send`."""
        try:
            self._session.write(data)
        except ssl.SSLError as exc:
            raise LayerBrokenError(str(exc)) from exc

    def send_eof(self) -> None:
        """As `Layer.send_eof`."""
        self._session.end()

    def close(self) -> None:
        """Nothing is left to say."""

    def take(self) -> bytes:
        """As `Layer.take`."""
        return self._session.take()
