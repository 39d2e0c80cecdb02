"""Checks at the start what the agent needs and images or containers may lack."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

from kled_wire.errors import ConfigError


def check_surroundings(root: Path = Path("/")) -> None:
    """Raise ConfigError("surroundings_unusable") with what is missing and who can give it."""
    null = root / "dev/null"
    if not (null.exists() and stat.S_ISCHR(null.stat().st_mode)):
        raise _unusable("there is no /dev/null here", "whoever makes the container mounts /dev")
    if not (root / "proc/self").exists():
        raise _unusable("there is no /proc here", "whoever makes the container mounts /proc")
    try:
        threading.Thread(target=int).start()
    except RuntimeError as error:
        hint = (
            "a seccomp filter refuses clone3(2) with EPERM, as Docker's before 20.10.10: renew it"
        )
        raise _unusable("no thread can be started here", hint) from error


def _unusable(what: str, hint: str) -> ConfigError:
    return ConfigError("surroundings_unusable", what, hint=hint)
