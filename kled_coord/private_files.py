"""Checks at the start that no other user can read the data directory and the sealing key."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

import structlog
import trio

from kled_coord.sources import RandomBytes
from kled_coord.store.engine import Store
from kled_coord.store.resealing import holds_sealed
from kled_coord.store.sealing import create_sealing_key
from kled_wire.errors import ConfigError, KledError
from kled_wire.private import make_private

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

log = structlog.get_logger(__name__)


def make_private_directory(directory: Path) -> None:
    """Make a directory for us alone; one that others may enter is closed to them.

    Raises ConfigError("data_dir_unusable").
    """
    try:
        was = make_private(directory)
        if was is not None:
            log.warning("data_dir_closed", directory=str(directory), mode=f"{was:04o}")
    except OSError as error:
        raise ConfigError("data_dir_unusable", f"data_dir {directory}: {error.strerror}") from error


async def open_sealing_key(store: Store, path: Path, random_bytes: RandomBytes) -> bytes:
    """The sealing key; a new one only where nothing is sealed yet.

    Raises ConfigError, KledError("sealed_key_lost"), StoreError.
    """
    there = await trio.to_thread.run_sync(path.exists)
    if not there and await store.read(holds_sealed):
        raise KledError(
            "sealed_key_lost",
            f"sealing_key_file {path} is missing, and the database has values sealed with it",
            hint="put the key back from its backup; nothing was changed",
        )
    key = await trio.to_thread.run_sync(create_sealing_key, path, random_bytes)
    close_key_file(path)
    return key


def look_at_tls_key(path: Path) -> None:
    """Say so where everybody on the machine may read it; it is the administrator's file."""
    mode = path.stat().st_mode
    if mode & stat.S_IROTH:
        log.warning(
            "tls_key_readable",
            file=str(path),
            mode=f"{mode & 0o777:04o}",
            hint=f"chmod o-r {path}, and get another certificate if somebody has read it",
        )


def close_key_file(path: Path) -> None:
    """Notice a key that others may read, and close it to them.

    Raises ConfigError("sealing_key_readable") where that cannot be.
    """
    mode = path.stat().st_mode
    if not mode & _OTHERS:
        return
    try:
        path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
    except OSError as error:
        raise ConfigError(
            "sealing_key_readable",
            f"sealing_key_file {path}: others may read it (mode {mode & 0o777:04o})",
            hint=f"chmod 600 {path}, and kled-coord rotate-sealing-key if somebody has",
        ) from error
    log.warning(
        "sealing_key_was_readable",
        file=str(path),
        mode=f"{mode & 0o777:04o}",
        hint="it is 0600 now; if somebody has read it: kled-coord rotate-sealing-key",
    )
