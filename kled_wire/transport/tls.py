"""TLS over a Trio stream, with the half-close that `trio.SSLStream` does not offer.

`send_eof` ends the TLS session in this direction only and lets the peer finish.
"""

from __future__ import annotations

import ssl

import trio

from kled_wire import limits
from kled_wire.transport.exclusive import Exclusive, check_size
from kled_wire.transport.tlssession import TlsSession

_CHUNK = 64 * 1024


class TlsStream(trio.abc.HalfCloseableStream):
    """A TLS session over `transport`; reads end cleanly on close_notify or an abrupt end."""

    def __init__(
        self,
        transport: trio.abc.Stream,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        server_side: bool = False,
    ) -> None:
        self.transport_stream = transport
        self._session = TlsSession(
            context, server_side=server_side, server_hostname=server_hostname
        )
        self._sending = trio.Lock()
        self._receiving = Exclusive("receiving from this TLS stream")
        self._eof_sent = False
        self._closed = False

    async def do_handshake(self) -> None:
        """Finish the handshake. Raises trio.BrokenResourceError with the TLS error as cause."""
        while not await self._shake_hands():
            if self._session.fed_to_the_end:
                raise trio.BrokenResourceError("the peer closed during the TLS handshake")
            await self._fill()

    async def _shake_hands(self) -> bool:
        try:
            done = self._session.handshake()
        except ssl.SSLError as exc:
            await self._flush_quietly()
            raise trio.BrokenResourceError from exc
        await self._flush()
        return done

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return decrypted bytes, b"" at the end. Raises trio.BrokenResourceError."""
        check_size(max_bytes)
        if self._closed:
            raise trio.ClosedResourceError("this TLS stream was closed")
        with self._receiving:
            await trio.lowlevel.checkpoint()
            return await self._receive(max_bytes or _CHUNK)

    async def _receive(self, size: int) -> bytes:
        while True:
            try:
                data = self._session.read(size)
            except ssl.SSLError as exc:
                raise trio.BrokenResourceError from exc
            if data is not None:
                return data
            # A sender that waits for the peer sends this too; waiting for it in turn would
            # stop both directions when both ends have much to say.
            if self._session.outgoing and not self._sending.locked():
                await self._flush()
            await self._fill()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send. Raises trio.BrokenResourceError, trio.ClosedResourceError."""
        if self._eof_sent or self._closed:
            raise trio.ClosedResourceError("send_eof or aclose was called")
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        try:
            for start in range(0, len(view), _CHUNK):
                self._session.write(view[start : start + _CHUNK])
                await self._flush()
        except ssl.SSLError as exc:
            raise trio.BrokenResourceError from exc

    async def send_eof(self) -> None:
        """Send close_notify; reading goes on."""
        if self._closed:
            raise trio.ClosedResourceError("this TLS stream was closed")
        await trio.lowlevel.checkpoint()
        if self._eof_sent:
            return
        self._eof_sent = True
        self._session.end()
        await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        """As the transport's."""
        if self._eof_sent or self._closed:
            raise trio.ClosedResourceError("send_eof or aclose was called")
        await self.transport_stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Send close_notify, waiting limits.CLEANUP_S for it at most, then close.

        When cancelled it closes at once, as `trio.aclose_forcefully` wants.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            with trio.move_on_after(limits.CLEANUP_S):
                if not self._eof_sent:
                    self._eof_sent = True
                    self._session.end()
                await self._flush_quietly()
        finally:
            await self.transport_stream.aclose()

    async def _flush(self) -> None:
        async with self._sending:
            while data := self._session.take():
                await self.transport_stream.send_all(data)

    async def _flush_quietly(self) -> None:
        try:
            await self._flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _fill(self) -> None:
        self._session.feed(await self.transport_stream.receive_some(_CHUNK))
