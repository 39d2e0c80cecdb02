"""Reads what a workspace's container has printed, for whoever shows it to the workspace's owner."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from kled_provider.kata.container.declared.schema import NAME
from kled_provider.kata.container.identity import id_prefix
from kled_provider.kata.output.following import end_position, parse_position, read_on
from kled_provider.kata.output.keeping import outputs_of, read_end
from kled_provider.kata.owner.file import OwnerFile, OwnerFileError
from kled_provider.kata.owner.loading import load_owner_file

# How long a request waits for output; no event reports that something was printed.
FOLLOW_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.1


async def follow_container_output(
    workspace_id: str,
    name: str,
    position: str,
    most_bytes: int,
    load: Callable[[], OwnerFile] = load_owner_file,
) -> tuple[bytes, str] | None:
    """Return what a container prints behind a position, and the position behind that.

    "" is where the last bytes begin. Returns none, with the position, where nothing comes for
    FOLLOW_S; None where this machine has no log of such a container, which goes with it. Raises
    ValueError for what is no position, OSError where the log may not be read.
    """
    deadline = trio.current_time() + FOLLOW_S
    while True:
        found = await trio.to_thread.run_sync(
            _read_on, workspace_id, name, position, most_bytes, load
        )
        if found is None or found[0] or trio.current_time() >= deadline:
            return found
        position = found[1]
        await trio.sleep(_LOOK_AGAIN_S)


def _read_on(
    workspace_id: str, name: str, position: str, most_bytes: int, load: Callable[[], OwnerFile]
) -> tuple[bytes, str] | None:
    try:
        if (log := _newest_log(workspace_id, name, load)) is None:
            return None
        begin = parse_position(position) if position else end_position(log, most_bytes)
        data, behind = read_on(log, begin, most_bytes)
    except FileNotFoundError:
        return None  # it went with its container
    return data, str(behind)


async def read_container_output(
    workspace_id: str,
    name: str,
    most_bytes: int,
    load: Callable[[], OwnerFile] = load_owner_file,
) -> bytes | None:
    """Return the last bytes of it; None where this machine has no log of such a container.

    Raises OSError where it may not be read.
    """
    log = _newest_log(workspace_id, name, load)
    return None if log is None else await trio.to_thread.run_sync(read_end, log, most_bytes)


def _newest_log(workspace_id: str, name: str, load: Callable[[], OwnerFile]) -> Path | None:
    if re.fullmatch(NAME, name) is None:
        return None
    try:
        outputs = outputs_of(load())
    except OwnerFileError:
        return None  # no containers are made here
    return outputs.newest_log(id_prefix(workspace_id, name))
