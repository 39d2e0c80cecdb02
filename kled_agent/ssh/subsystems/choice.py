"""Chooses the program that serves an SSH subsystem.

sftp is OpenSSH's `sftp-server` where that is installed, elsewhere our own (sftp_server.py); file
sync is served by `sync_server.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kled_agent.machine.users import LocalUser
from kled_wire.ssh import subsystems

_SFTP_SERVERS: Final = (
    "/usr/lib/openssh/sftp-server",  # Debian, Ubuntu
    "/usr/lib/ssh/sftp-server",  # Alpine, Arch, SUSE
    "/usr/libexec/openssh/sftp-server",  # Fedora, RHEL
    "/usr/libexec/sftp-server",  # macOS, FreeBSD
)


class SubsystemProgram(NamedTuple):
    """What to run; `becomes_user`: it starts as the agent's user and becomes the session's.

    `paced`: it reads all that it is given before it answers (sessions/sftp_pace.py).
    """

    argv: tuple[str, ...]
    becomes_user: bool
    paced: bool = False


def subsystem_program(name: str, user: LocalUser) -> SubsystemProgram | None:
    """The program that serves `name`, or None. Paths are seen from the home directory."""
    if name == subsystems.SYNC:
        return _module("sync_server", user)
    if name != "sftp":
        return None
    for program in _sftp_servers(user):
        if all(os.access(path, os.X_OK) for path in program):
            # sftp-server(8): `-d`, with tokens
            argv = (*program, "-d", user.home_directory().replace("%", "%%"))
            return SubsystemProgram(argv, becomes_user=False, paced=True)
    return _module("sftp_server", user)._replace(paced=True)


def _sftp_servers(user: LocalUser) -> Iterator[tuple[str, ...]]:
    """Where sftp-server may be; it ends at once for a user whom its C library does not know."""
    if not user.is_listed:
        return
    for path in _SFTP_SERVERS:
        yield (path,)
    if user.is_local:
        # A bundle has its own (docs/bundle.md), which its own loader runs.
        bundled = Path(sys.prefix, "lib")
        yield str(bundled / "kled-sftp"), str(bundled / "sftp-server.bin")


def _module(name: str, user: LocalUser) -> SubsystemProgram:
    module = ("-P", "-m", f"kled_agent.ssh.subsystems.{name}")
    return SubsystemProgram((sys.executable, *module, user.job()), becomes_user=True)
