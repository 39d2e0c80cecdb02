"""The server's TLS context from a certificate and its key, replaced when they are renewed."""

from __future__ import annotations

import ssl
from pathlib import Path

# Inode, change time in nanoseconds and size of each file: renaming and writing both show.
_Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """A certificate chain and its key in PEM files, read again once they have changed.

    Raises OSError when they cannot be used; an ssl.SSLError is one.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._stamp = self._look()
        self._context = self._load()

    @property
    def files(self) -> tuple[Path, Path]:
        """The certificate chain and the key."""
        return self._files

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection: TLS 1.2 and up, HTTP/1.1 only."""
        return self._context

    def renew(self) -> bool:
        """Read the files again if they are others now; whether they were.

        Two system calls where they are not. Raises OSError when they cannot be used, once; the
        last that could be stays.
        """
        if (stamp := self._look()) == self._stamp:
            return False
        self._stamp = stamp
        self._context = self._load()
        return True

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(*self._files)
        return context

    def _look(self) -> _Stamp:
        try:
            found = [file.stat() for file in self._files]
        except OSError:
            return ()
        return tuple((entry.st_ino, entry.st_ctime_ns, entry.st_size) for entry in found)
