"""TLS over a Trio stream, with the half-close that TLS itself does not have.

TLS 1.3 (RFC 8446, section 6.1) lets one side send close_notify and still read; OpenSSL supports
it for reading, `trio.SSLStream` does not offer it. `send_eof` therefore ends the TLS session in
this direction only and lets the peer finish.
"""

from __future__ import annotations

import ssl

import trio

from kled_wire import limits

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
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._sending = trio.Lock()
        self._eof_sent = False

    async def do_handshake(self) -> None:
        """Finish the handshake. Raises trio.BrokenResourceError with the TLS error as cause."""
        while True:
            try:
                self._session.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError as exc:
                await self._flush_quietly()
                raise trio.BrokenResourceError from exc
            else:
                await self._flush()
                return
            if self._incoming.eof:
                raise trio.BrokenResourceError("the peer closed during the TLS handshake")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return decrypted bytes, b"" at the end. Raises trio.BrokenResourceError."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                return self._session.read(max_bytes or _CHUNK)
            except ssl.SSLWantReadError:
                if self._incoming.eof:
                    return b""
                await self._flush()
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as exc:
                raise trio.BrokenResourceError from exc

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send. Raises trio.BrokenResourceError, trio.ClosedResourceError."""
        if self._eof_sent:
            raise trio.ClosedResourceError("send_eof was called")
        view = memoryview(data)
        try:
            for start in range(0, len(view), _CHUNK):
                self._session.write(view[start : start + _CHUNK])
                await self._flush()
        except ssl.SSLError as exc:
            raise trio.BrokenResourceError from exc

    async def send_eof(self) -> None:
        """Send close_notify; reading goes on."""
        if self._eof_sent:
            return
        self._eof_sent = True
        self._say_goodbye()
        await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        await self.transport_stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Send close_notify if the transport takes it at once, then close."""
        with trio.move_on_after(limits.CLEANUP_S) as scope:
            scope.shield = True
            if not self._eof_sent:
                self._eof_sent = True
                self._say_goodbye()
            await self._flush_quietly()
        await self.transport_stream.aclose()

    def _say_goodbye(self) -> None:
        try:
            self._session.unwrap()
        except ssl.SSLError:
            return  # unwrap wants the peer's close_notify; ours is in the outgoing buffer

    async def _flush(self) -> None:
        async with self._sending:
            if data := self._outgoing.read():
                await self.transport_stream.send_all(data)

    async def _flush_quietly(self) -> None:
        try:
            await self._flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _fill(self) -> None:
        data = await self.transport_stream.receive_some(_CHUNK)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
