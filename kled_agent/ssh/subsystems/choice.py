"""Who serves an SSH subsystem.

sftp is OpenSSH's `sftp-server` where that is installed: it runs as the session's user in its own
process, so a transfer does not hold up other sessions. Elsewhere asyncssh serves it inside the
agent, but only where the agent already runs as that user: it would otherwise serve root's files.
"""

from __future__ import annotations

import os
from typing import Final

import asyncssh
from asyncssh.constants import FXP_WRITE
from asyncssh.packet import SSHPacket, String, UInt64
from asyncssh.sftp import SFTPServerHandler
from asyncssh.stream import SSHReader, SSHServerStreamSession, SSHWriter

from kled_agent.users import LocalUser

_SFTP_SERVERS: Final = (
    "/usr/lib/openssh/sftp-server",  # Debian, Ubuntu
    "/usr/lib/ssh/sftp-server",  # Alpine, Arch, SUSE
    "/usr/libexec/openssh/sftp-server",  # Fedora, RHEL
    "/usr/libexec/sftp-server",  # macOS, FreeBSD
)
_MISSING: Final = "kled: this workspace has no sftp-server: install openssh-sftp-server in it"
_SFTP_VERSION: Final = 3  # draft-ietf-secsh-filexfer-02, the one OpenSSH speaks


def subsystem_command(name: str, user: LocalUser) -> tuple[str, ...] | None:
    """The argument vector of a program that serves `name`, or None."""
    if name == "sftp":
        for path in _SFTP_SERVERS:
            if os.access(path, os.X_OK):
                # Paths are seen from the home directory, wherever shells start (sftp-server(8)).
                return (path, "-d", user.home_directory().replace("%", "%%"))
        if not user.owns_us():
            # A refused subsystem has no room for a reason; a program's standard error is shown.
            return ("/bin/sh", "-c", f"echo '{_MISSING}' >&2; exit 1")
    return None


def embedded_subsystem(name: str, user: LocalUser) -> asyncssh.SSHServerSession[bytes] | None:
    """A session that serves `name` in this process, or None where that is not allowed."""
    if name != "sftp" or not user.owns_us():
        return None
    return _SftpSession(user)


class _SftpSession(SSHServerStreamSession[bytes]):
    """asyncssh's session of a subsystem, with our handler."""

    def __init__(self, user: LocalUser) -> None:
        super().__init__(None)
        self._user = user

    def session_started(self) -> None:
        channel = self._chan
        assert isinstance(channel, asyncssh.SSHServerChannel)
        channel.set_encoding(None)
        reader, writer = SSHReader[bytes](self, channel), SSHWriter[bytes](self, channel)
        handler = _Handler(_Server(channel, self._user), reader, writer, _SFTP_VERSION)
        channel.get_connection().create_task(handler.run())


class _Handler(SFTPServerHandler):
    """Takes what sftp-server takes."""

    async def _process_trailing_write(self, packet: SSHPacket) -> int:
        """Go's client, which rclone and restic have, may send a whole buffer after the data."""
        handle, offset, data = packet.get_string(), packet.get_uint64(), packet.get_string()
        exact = String(handle) + UInt64(offset) + String(data)
        return await self._process_write(SSHPacket(exact))

    _packet_handlers = {  # noqa: RUF012 - as asyncssh has it
        **SFTPServerHandler._packet_handlers,  # noqa: SLF001 - its one place for that
        FXP_WRITE: _process_trailing_write,  # type: ignore[dict-item]  # self is its own class
    }


class _Server(asyncssh.SFTPServer):
    """Ends as a program does, with a status: scp takes an end without one for a failure."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], user: LocalUser) -> None:
        super().__init__(channel)
        self._home = os.fsencode(user.home_directory())

    def map_path(self, path: bytes) -> bytes:
        """Seen from the home directory, as sftp-server is told to (`-d`)."""
        return os.path.join(self._home, path)  # noqa: PTH118 - bytes

    def exit(self) -> None:
        if not self.channel.is_closing():
            self.channel.exit(0)
