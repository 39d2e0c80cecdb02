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
        # Decrypted before it was asked for, see `_say_goodbye`.
        self._ahead = b""
        self._receiving = False
        self._eof_sent = False
        self._closed = False

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
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._closed:
            raise trio.ClosedResourceError("this TLS stream was closed")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this TLS stream")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            return await self._receive(max_bytes or _CHUNK)
        finally:
            self._receiving = False

    async def _receive(self, size: int) -> bytes:
        while True:
            if self._ahead:
                data, self._ahead = self._ahead[:size], self._ahead[size:]
                return data
            try:
                return self._session.read(size)
            except ssl.SSLWantReadError:
                if self._incoming.eof:
                    return b""
                # A sender that waits for the peer sends this too; waiting for it in turn would
                # stop both directions when both ends have much to say.
                if self._outgoing.pending and not self._sending.locked():
                    await self._flush()
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as exc:
                raise trio.BrokenResourceError from exc

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
        self._say_goodbye()
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
                    self._say_goodbye()
                await self._flush_quietly()
        finally:
            await self.transport_stream.aclose()

    def _say_goodbye(self) -> None:
        """Put close_notify into the outgoing bytes.

        `unwrap` also reads, for the peer's close_notify, and ends the session for good when it
        finds data in its place: what has come is therefore decrypted first.
        """
        try:
            while data := self._session.read(_CHUNK):
                self._ahead += data
        except ssl.SSLError:
            pass  # no more has come, or the session's end; both show at the next read
        try:
            self._session.unwrap()
        except ssl.SSLError:
            return  # the peer has not said its close_notify; ours is in the outgoing bytes

    async def _flush(self) -> None:
        async with self._sending:
            while data := self._outgoing.read():
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
