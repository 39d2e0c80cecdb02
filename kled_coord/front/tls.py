"""TLS that ends here: in offload processes, or where the system has none in this one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from kled_coord.offload.certificates import Certificates
from kled_coord.offload.handover import Kind
from kled_coord.offload.pool import OffloadPool
from kled_coord.offload.stream import OffloadedStream
from kled_wire.errors import ConfigError
from kled_wire.transport.tls import TlsStream

log = structlog.get_logger(__name__)


def open_certificates(certificate: Path | None, key: Path | None) -> Certificates | None:
    """Read the files in the settings, if any. Raises ConfigError("tls_files_unusable")."""
    if certificate is None or key is None:
        return None
    try:
        return Certificates(certificate, key)
    except OSError as error:
        raise ConfigError(
            "tls_files_unusable",
            f"tls_cert_file {certificate}, tls_key_file {key}: {error}",
            hint="both must be readable PEM files that belong together",
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Terminates TLS on the connections of the one port."""

    certificates: Certificates
    offload: OffloadPool | None = None

    @asynccontextmanager
    async def unwrapped(
        self, connection: trio.SocketStream
    ) -> AsyncIterator[trio.abc.HalfCloseableStream]:
        """The plain stream. A `TlsStream` is still to do its handshake.

        Raises UnavailableError("offload_restarting").
        """
        if self.offload is not None:
            async with self.offload.unwrapped(Kind.TLS, connection) as plain:
                yield OffloadedStream(plain, connection)
        else:
            self._renew()
            yield TlsStream(connection, self.certificates.context, server_side=True)

    def _renew(self) -> None:
        try:
            if self.certificates.renew():
                log.info("tls_files_renewed")
        except OSError as error:
            log.error("tls_files_unusable", reason=str(error))
