"""Requests of a session for old versions that an endpoint keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kled_sync.decide.modes import SyncSide
from kled_sync.files.writing.kept import ATTRIBUTES
from kled_sync.session.sides.side import Sides, SideState
from kled_sync.tree.paths import check_path, shown
from kled_sync.wire import messages
from kled_wire.errors import NotFoundError, ProtocolError


async def history(side: SideState, path: bytes) -> list[dict[str, Any]]:
    """The versions kept of `path` and below, newest first. Raises KledError."""
    rows = [_row(version) for version in await _versions(side, path)]
    return [{**row, "at": row["at"] - side.ahead_s} for row in rows]


async def _versions(side: SideState, path: bytes) -> messages.Rows:
    answer = await side.peer.ask(lambda number: messages.AskKept(request=number, path=path))
    assert isinstance(answer, messages.Kept)
    return answer.versions


def _row(version: tuple[Any, ...]) -> dict[str, Any]:
    match version:
        case (int(number), float(at), bytes(path), str(what), int(size), *source):
            return {
                "at": at,
                "path": shown(check_path(path)),
                "from": [shown(check_path(path)) for path in source],
                "what": what[:16],
                "bytes": size,
                "kept": number > 0,
            }
    raise _refused()


async def undo_on_both(sides: Sides, path: bytes, *, since_s: float) -> dict[SyncSide, list[bytes]]:
    """`undo` of each path on the side that lost it last, or first since then; the sync does the
    rest. Both sides would bring back different versions. Raises KledError.
    """
    ranks: dict[bytes, dict[SyncSide, tuple[bool, float]]] = {}
    for side, state in sides.items():
        for theirs_s, name, what in map(_timed, await _versions(state, path)):
            at = theirs_s - state.ahead_s
            if at < since_s:
                continue
            # A content has its attributes with it.
            rank = (what == ATTRIBUTES, at) if since_s else (False, -at)
            found = ranks.setdefault(name, {})
            found[side] = min(found.get(side, rank), rank)
    spared: dict[SyncSide, list[bytes]] = {side: [] for side in sides}
    for name, found in ranks.items():
        if len(found) > 1:
            best = min(found, key=lambda side: found[side])
            spared[best.other].append(name)
    return {
        side: await undo(state, path, since_s=since_s, purge=False, spared=spared[side])
        for side, state in sides.items()
    }


def _timed(version: tuple[Any, ...]) -> tuple[float, bytes, str]:
    """When a version was lost, its path, and what it is."""
    match version:
        case (int(), float(at), bytes(path), str(what), int(), *_):
            return at, check_path(path), what
    raise _refused()


def _refused() -> ProtocolError:
    return ProtocolError("sync_message_refused", "an invalid version")


async def undo(
    side: SideState, path: bytes, *, since_s: float, purge: bool, spared: Sequence[bytes] = ()
) -> list[bytes]:
    """Bring back the last version, or what there was at `since_s`; or forget all. The paths.

    Raises KledError; that nothing is kept is no error: it may be so on one side.
    """
    try:
        answer = await side.peer.ask(
            lambda number: messages.Undo(
                request=number,
                path=path,
                since_s=since_s + side.ahead_s if since_s else 0.0,
                purge=purge,
                spared=messages.PathList(spared),
            )
        )
    except NotFoundError:
        return []
    assert isinstance(answer, messages.Undone)
    return list(answer.paths)
