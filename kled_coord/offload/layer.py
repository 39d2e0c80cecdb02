"""The interface between a connection's bytes and plain ones: TLS or WebSocket framing. No I/O."""

from __future__ import annotations

from typing import Protocol


class LayerBrokenError(Exception):
    """The peer has broken the protocol of the layer; what it may be told of that is in `take`."""


class Layer(Protocol):
    """A layer of one connection. Each call may leave bytes for the peer, which `take` returns."""

    @property
    def open(self) -> bool:
        """Whether plain bytes may be sent."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the peer has said that it will send no more."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the peer will take no more either."""
        ...

    def receive(self, data: bytes) -> list[bytes]:
        """The plain bytes in what has come, b"" at its end. Raises LayerBrokenError."""
        ...

    def send(self, data: bytes) -> None:
        """Plain bytes for the peer. Raises LayerBrokenError."""
        ...

    def send_eof(self) -> None:
        """Say that no more will come; the peer may go on."""
        ...

    def close(self) -> None:
        """Say that it is over, after `send_eof`."""
        ...

    def take(self) -> bytes:
        """Bytes for the peer."""
        ...
