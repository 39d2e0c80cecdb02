"""The old versions that copies of a folder have left at a place: no sync has a name for them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from kled_client.sync.copy import AS_RSYNC
from kled_client.sync.place import SyncPlace
from kled_client.sync.reach import Connect, open_peer
from kled_sync.files.options import Options
from kled_sync.session import kept
from kled_sync.session.sides.side import SideState
from kled_sync.tree.tree import Tree


@asynccontextmanager
async def _open(
    place: SyncPlace, env: Mapping[str, str], connect: Connect, options: Options
) -> AsyncIterator[SideState]:
    async with open_peer(place, str(place), env, connect) as peer:
        side = SideState(peer, Tree())
        await side.open(os.fsencode(place.path), options)
        yield side


async def history_at(
    place: SyncPlace, path: bytes, env: Mapping[str, str], connect: Connect
) -> list[dict[str, Any]]:
    """The versions kept of `path` in the folder at `place`, newest first. Raises KledError."""
    async with _open(place, env, connect, replace(AS_RSYNC, reads_only=True)) as side:
        return await kept.history(side, path)


async def undo_at(
    place: SyncPlace,
    path: bytes,
    env: Mapping[str, str],
    connect: Connect,
    *,
    since_s: float,
    purge: bool,
) -> list[str]:
    """Restore `path` in the folder at `place`, or forget its versions; the paths. Raises KledError.

    `since_s`: as it was at that time, in seconds of the epoch; 0: as it was before the last copy.
    """
    if not await history_at(place, path, env, connect):
        return []  # whoever opens a folder to write makes what it is in
    async with _open(place, env, connect, AS_RSYNC) as side:
        await side.scan(everywhere=True)
        return [os.fsdecode(p) for p in await kept.undo(side, path, since_s=since_s, purge=purge)]
