"""One side of a TLS session over bytes that somebody else moves, with a half-close. No I/O.

TLS 1.3 (RFC 8446, section 6.1) lets one side send close_notify and still read; OpenSSL supports
it for reading, and has to be helped to go on after it has sent one.
"""

from __future__ import annotations

import ssl
from typing import Final

# A record holds 16 KiB (RFC 8446, section 5.1), and OpenSSL gives out one at a time.
RECORD_BYTES: Final = 16 * 1024


class TlsSession:
    """A TLS session without I/O: `feed` it what came; after each call send what `take` gives."""

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        # Decrypted before it was asked for, see `end`.
        self._ahead = b""

    @property
    def fed_to_the_end(self) -> bool:
        """Whether `feed` was told of the end, and all before it is read."""
        return self._incoming.eof

    @property
    def outgoing(self) -> int:
        """Bytes that `take` would give."""
        return self._outgoing.pending

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes from the peer; none is its end."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def take(self) -> bytes:
        """All bytes for the peer."""
        return self._outgoing.read()

    def handshake(self) -> bool:
        """Go on with it; whether it is done. Raises ssl.SSLError, with an alert to `take`."""
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def read(self, size: int = RECORD_BYTES) -> bytes | None:
        """Decrypted bytes, b"" at the end, None where more has to come. Raises ssl.SSLError."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        try:
            return self._session.read(size)
        except ssl.SSLWantReadError:
            return b"" if self._incoming.eof else None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def write(self, data: bytes | memoryview) -> None:
        """Encrypt. Raises ssl.SSLError."""
        self._session.write(data)

    def end(self) -> None:
        """Say close_notify; reading goes on.

        `unwrap` also reads, for the peer's close_notify, and ends the session for good when it
        finds data in its place: what has come is therefore decrypted first.
        """
        try:
            while data := self._session.read(RECORD_BYTES):
                self._ahead += data
        except ssl.SSLError:
            pass  # no more has come, or the session's end; both show at the next read
        try:
            self._session.unwrap()
        except ssl.SSLError:
            return  # the peer has not said its close_notify; ours is in the outgoing bytes
