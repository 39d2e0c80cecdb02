"""Requests of a session for old versions that an endpoint keeps."""

from __future__ import annotations

from typing import Any

from kled_sync.session.side import SideState
from kled_sync.tree.paths import check_path, shown
from kled_sync.wire import messages
from kled_wire.errors import NotFoundError, ProtocolError


async def history(side: SideState, path: bytes) -> list[dict[str, Any]]:
    """The versions kept of `path` and below, newest first. Raises KledError."""
    answer = await side.peer.ask(lambda number: messages.AskKept(request=number, path=path))
    assert isinstance(answer, messages.Kept)
    return [_row(version) for version in answer.versions]


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
    raise ProtocolError("sync_message_refused", "a version that is none")


async def undo(side: SideState, path: bytes, *, since_s: float, purge: bool) -> list[bytes]:
    """Bring back the last version, or what there was at `since_s`; or forget all. The paths.

    Raises KledError; that nothing is kept is no error: it may be so on one side.
    """
    try:
        answer = await side.peer.ask(
            lambda number: messages.Undo(request=number, path=path, since_s=since_s, purge=purge)
        )
    except NotFoundError:
        return []
    assert isinstance(answer, messages.Undone)
    return list(answer.paths)
