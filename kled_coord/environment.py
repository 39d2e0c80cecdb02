"""The environment of child processes, without the coordinator's secrets. No I/O.

Settings (KLED_COORD_DATABASE_URL with its password) and what the service manager passes on are the
coordinator's alone; everybody who may read a process's /proc/PID/environ could read them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# How Python finds its modules and its libraries, and the machine's language and time zone.
_KEPT: Final = ("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "OPENSSL_CONF")
_KEPT_PREFIXES: Final = ("PYTHON", "LC_")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What is left of the coordinator's environment for a Python process of its own."""
    return {
        name: value
        for name, value in environment.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
