"""An SFTP server on standard input and output, by asyncssh, for machines without sftp-server.

A program of its own, so that a transfer holds up no other session and the kernel judges each path
for the session's user. It starts as the agent's user, because the other may not be allowed to read
the interpreter, and becomes the session's before it reads anything.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final, cast

from asyncssh import SFTPServer, SSHServerChannel
from asyncssh.constants import FXP_WRITE
from asyncssh.logging import SSHLogger, logger
from asyncssh.packet import SSHPacket, String, UInt64
from asyncssh.sftp import SFTPServerHandler
from asyncssh.stream import SSHReader, SSHWriter

from kled_agent.machine.users import become_user

_SFTP_VERSION: Final = 3  # draft-ietf-secsh-filexfer-02, the one OpenSSH speaks


class _Standard:
    """Standard input and output as the reader, the writer and the channel of asyncssh's handler."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.readexactly = reader.readexactly

    @property
    def logger(self) -> SSHLogger:
        return logger

    @property
    def channel(self) -> _Standard:
        return self

    def get_extra_info(self, _name: str, default: object = None) -> object:
        return default

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """The process ends right after."""

    def write(self, data: bytes) -> None:
        """Blocks while the client takes nothing: meanwhile no request of it is read either."""
        left = memoryview(data)
        while left:
            left = left[os.write(1, left) :]


class _Handler(SFTPServerHandler):
    """asyncssh's handler, which accepts the same requests as OpenSSH's sftp-server."""

    async def _process_trailing_write(self, packet: SSHPacket) -> int:
        """Go's client, which rclone and restic have, may send a whole buffer after the data."""
        handle, offset, data = packet.get_string(), packet.get_uint64(), packet.get_string()
        exact = String(handle) + UInt64(offset) + String(data)
        return await self._process_write(SSHPacket(exact))

    _packet_handlers = {  # noqa: RUF012 - as asyncssh has it
        **SFTPServerHandler._packet_handlers,  # noqa: SLF001 - its one place for that
        FXP_WRITE: _process_trailing_write,  # type: ignore[dict-item]  # self is its own class
    }


class _Server(SFTPServer):
    def __init__(self, channel: SSHServerChannel[bytes], home: bytes) -> None:
        super().__init__(channel)
        self._home = home

    def map_path(self, path: bytes) -> bytes:
        """Seen from the home directory, as sftp-server is told to (`-d`)."""
        return os.path.join(self._home, path)  # noqa: PTH118 - bytes


async def _serve(home: str) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    standard = _Standard(reader)
    server = _Server(cast("SSHServerChannel[bytes]", standard), os.fsencode(home))
    ours = cast("SSHReader[bytes]", standard), cast("SSHWriter[bytes]", standard)
    await _Handler(server, *ours, _SFTP_VERSION).run()


def main() -> None:
    """Serve until the end of the input. The argument is a LocalUser's job."""
    home = become_user()
    try:
        asyncio.run(_serve(home))
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
