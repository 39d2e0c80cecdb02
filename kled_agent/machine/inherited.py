"""Takes over the environment of a container for sessions: it is part of an image.

The agent's own is not that: a bundle's launcher has cleaned it for the agent's Python. But the
shell that runs the start script (kled_coord/bundles/start.sh) has it as the container gave it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Variables that belong to one process (login(1), systemd.exec(5)), or say who has logged in.
_OWN: Final = frozenset(
    {
        *("_", "PWD", "OLDPWD", "SHLVL", "TERM", "COLUMNS", "LINES", "MAIL"),
        *("HOME", "USER", "LOGNAME", "SHELL", "PATH"),
        *("INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET", "MAINPID", "MANAGERPID"),
        *("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC"),
    }
)
_OURS: Final = ("KLED_", "SSH_", "SUDO_", "CODER_AGENT_TOKEN")
# Variables for the loader or Python were set for the image's command. A template sets them by
# kled_env.
_DIRECTING: Final = ("LD_", "PYTHON")


def read_environment(pid: int, *, root: Path = Path("/proc")) -> dict[str, str]:
    """What a process was started with (proc(5)); nothing where it cannot be read."""
    try:
        content = (root / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (os.fsdecode(item).partition("=") for item in content.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs if name}


def for_sessions(found: Mapping[str, str], token: str) -> dict[str, str]:
    """What of it sessions get: nothing that is one process's own, and no value with the token."""
    return {
        name: value
        for name, value in found.items()
        if name not in _OWN
        and not name.startswith(_OURS + _DIRECTING)
        and not (token and token in value)
    }
