"""Which program serves an SSH subsystem.

sftp is OpenSSH's `sftp-server` where that is installed, elsewhere our own (sftp_server.py).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Final, NamedTuple

from kled_agent.users import LocalUser

_SFTP_SERVERS: Final = (
    "/usr/lib/openssh/sftp-server",  # Debian, Ubuntu
    "/usr/lib/ssh/sftp-server",  # Alpine, Arch, SUSE
    "/usr/libexec/openssh/sftp-server",  # Fedora, RHEL
    "/usr/libexec/sftp-server",  # macOS, FreeBSD
)


class SubsystemProgram(NamedTuple):
    """What to run; `becomes_user`: it starts as the agent's user and becomes the session's."""

    argv: tuple[str, ...]
    becomes_user: bool


def subsystem_program(name: str, user: LocalUser) -> SubsystemProgram | None:
    """The program that serves `name`, or None. Paths are seen from the home directory."""
    if name != "sftp":
        return None
    home = user.home_directory()
    for path in _SFTP_SERVERS:
        if os.access(path, os.X_OK):
            # sftp-server(8): `-d`, with tokens
            return SubsystemProgram((path, "-d", home.replace("%", "%%")), becomes_user=False)
    job = {"uid": user.uid, "gid": user.gid, "groups": list(user.groups), "home": home}
    module = ("-P", "-m", "kled_agent.ssh.subsystems.sftp_server")
    return SubsystemProgram((sys.executable, *module, json.dumps(job)), becomes_user=True)
