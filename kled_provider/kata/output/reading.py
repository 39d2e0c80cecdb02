"""Reads what a workspace's container has printed, for whoever shows it to the workspace's owner."""

from __future__ import annotations

import re
from collections.abc import Callable

import trio

from kled_provider.kata.container.identity import id_prefix
from kled_provider.kata.container.schema import NAME
from kled_provider.kata.output.keeping import outputs_of, read_end
from kled_provider.kata.owner.file import OwnerFile, OwnerFileError
from kled_provider.kata.owner.loading import load_owner_file


async def read_container_output(
    workspace_id: str,
    name: str,
    most_bytes: int,
    load: Callable[[], OwnerFile] = load_owner_file,
) -> bytes | None:
    """Return the last bytes of it; None where this machine has no log of such a container.

    Raises OSError where it may not be read.
    """
    if re.fullmatch(NAME, name) is None:
        return None
    try:
        outputs = outputs_of(load())
    except OwnerFileError:
        return None  # no containers are made here
    log = outputs.newest_log(id_prefix(workspace_id, name))
    if log is None:
        return None
    return await trio.to_thread.run_sync(read_end, log, most_bytes)
