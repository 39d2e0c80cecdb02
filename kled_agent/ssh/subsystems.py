"""Who serves an SSH subsystem.

sftp is OpenSSH's `sftp-server` where that is installed: it runs as the session's user in its own
process, so a transfer does not hold up other sessions. Elsewhere asyncssh serves it inside the
agent, but only where the agent already runs as that user: it would otherwise serve root's files.
"""

from __future__ import annotations

import os
from typing import Final

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.stream import SSHServerStreamSession

from kled_agent.users import LocalUser

_SFTP_SERVERS: Final = (
    "/usr/lib/openssh/sftp-server",  # Debian, Ubuntu
    "/usr/lib/ssh/sftp-server",  # Alpine, Arch, SUSE
    "/usr/libexec/openssh/sftp-server",  # Fedora, RHEL
    "/usr/libexec/sftp-server",  # macOS, FreeBSD
)
_SFTP_VERSION: Final = 3  # draft-ietf-secsh-filexfer-02, the one OpenSSH speaks


def subsystem_command(name: str, user: LocalUser) -> tuple[str, ...] | None:
    """The argument vector of a program that serves `name`, or None."""
    if name == "sftp":
        for path in _SFTP_SERVERS:
            if os.access(path, os.X_OK):
                # Paths are seen from the home directory, wherever shells start (sftp-server(8)).
                return (path, "-d", user.home_directory().replace("%", "%%"))
    return None


def embedded_subsystem(name: str, user: LocalUser) -> asyncssh.SSHServerSession[bytes] | None:
    """A session that serves `name` in this process, or None where that is not allowed."""
    if name != "sftp" or not user.owns_us():
        return None
    return SSHServerStreamSession(None, _make_server, _SFTP_VERSION)


class _Server(asyncssh.SFTPServer):
    """Ends as a program does, with a status: scp takes an end without one for a failure."""

    def exit(self) -> None:
        if not self.channel.is_closing():
            self.channel.exit(0)


def _make_server(channel: SSHChannel[bytes]) -> asyncssh.SFTPServer:
    assert isinstance(channel, asyncssh.SSHServerChannel)
    return _Server(channel)
