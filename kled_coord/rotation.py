"""Replaces the sealing key: seals everything again in one transaction, and keeps the old key.

The key is a file and the values are rows, so no step changes both at once. The new key is on the
disk before the transaction and takes its place after it; a rotation that was cut off between the
two is finished by the next one.
"""

from __future__ import annotations

import os
from pathlib import Path

import trio

from kled_coord.sources import RandomBytes
from kled_coord.store.engine import Store
from kled_coord.store.resealing import check_key, reseal_all
from kled_coord.store.sealing import Sealer, create_sealing_key, load_sealing_key
from kled_wire.errors import ConfigError, ConflictError, KledError


def old_key_file(key_file: Path) -> Path:
    """Where the key before the last rotation is kept."""
    return key_file.with_name(f"{key_file.name}.old")


def _new_key_file(key_file: Path) -> Path:
    return key_file.with_name(f"{key_file.name}.new")


async def rotate_sealing_key(store: Store, key_file: Path, random_bytes: RandomBytes) -> int:
    """Seal everything with a new key; returns how many values. No coordinator may be running.

    Raises ConflictError("rotation_unconfirmed"), ConfigError, KledError("sealed_unreadable"),
    StoreError; nothing is changed then.
    """
    old_key, new_file = load_sealing_key(key_file), _new_key_file(key_file)
    if await _was_cut_off(store, new_file, random_bytes):
        await trio.to_thread.run_sync(_take_its_place, key_file, new_file)
        return 0
    if old_key_file(key_file).exists():
        raise ConflictError(
            "rotation_unconfirmed",
            f"{old_key_file(key_file)} is still there from the last rotation",
            hint="kled-coord rotate-sealing-key --confirm",
        )
    new_file.unlink(missing_ok=True)
    new = Sealer(create_sealing_key(new_file, random_bytes), random_bytes)
    done = await store.write(reseal_all, Sealer(old_key, random_bytes), new)
    await trio.to_thread.run_sync(_take_its_place, key_file, new_file)
    return done


async def confirm_rotation(store: Store, key_file: Path, random_bytes: RandomBytes) -> None:
    """Delete the old key, once the present one is seen to open the database.

    Raises ConfigError, KledError("sealed_unreadable"), StoreError.
    """
    await store.read(check_key, Sealer(load_sealing_key(key_file), random_bytes))
    old_key_file(key_file).unlink(missing_ok=True)


async def _was_cut_off(store: Store, new_file: Path, random_bytes: RandomBytes) -> bool:
    """Whether a rotation has sealed everything and not put its key in place."""
    try:
        sealer = Sealer(load_sealing_key(new_file), random_bytes)
        await store.read(check_key, sealer)
    except ConfigError:
        return False
    except KledError as error:
        if error.code != "sealed_unreadable":
            raise
        return False
    return True


def _take_its_place(key_file: Path, new_file: Path) -> None:
    """Keep the old key beside, then replace it. There is a key at every moment."""
    old_file = old_key_file(key_file)
    if not old_file.exists():
        os.link(key_file, old_file)
    new_file.replace(key_file)
    directory = os.open(key_file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
