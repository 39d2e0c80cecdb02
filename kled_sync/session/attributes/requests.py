"""Requests to endpoints to read and to set the attributes of paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import trio

from kled_sync.decide.attributes import AttributesToSet, FileAttributes, parse_attributes
from kled_sync.decide.modes import SyncSide
from kled_sync.session.sides.side import Sides, SideState
from kled_sync.wire import messages
from kled_wire.errors import ProtocolError, UnavailableError

AT_ONCE: Final = 1000
# Of the rows of one request; a row has at most 256 KiB.
_REQUEST_BYTES: Final = 8 * 1024 * 1024


def check_attributes_known(sides: Sides, fact: str) -> None:
    """Raises UnavailableError("sync_attributes_unknown") where a side is an older one."""
    for state in sides.values():
        if state.facts.get(fact) is not True:
            raise UnavailableError(
                "sync_attributes_unknown",
                f"the kled of the {state.peer.name} side cannot bring over owners, special "
                "permission bits, extended attributes or hard links",
                hint="update it, or copy without those options",
            )


async def ask_attributes(
    state: SideState, paths: Sequence[bytes], *, xattrs: bool
) -> list[FileAttributes]:
    """The attributes of `paths` at one side, in order. Raises KledError."""
    found: list[FileAttributes] = []
    while len(found) < len(paths):
        some = messages.PathList(paths[len(found) : len(found) + AT_ONCE])
        make = partial(messages.AskAttributes, paths=some, xattrs=xattrs)
        answer = await state.peer.ask(
            lambda number, make=make: make(request=number),  # type: ignore[misc]
            messages.AttributesFound,
        )
        if not answer.rows:
            raise _another()
        told = [parse_attributes(row) for row in answer.rows]
        if [attributes.path for attributes in told] != list(some[: len(told)]):
            raise _another()
        found += told
    return found


async def ask_both(
    sides: Sides, paths: Sequence[bytes], *, xattrs: bool
) -> list[tuple[FileAttributes, FileAttributes]]:
    """The attributes of each path on alpha and on beta. Raises KledError."""
    found: dict[SyncSide, list[FileAttributes]] = {}

    async def ask(side: SyncSide) -> None:
        found[side] = await ask_attributes(sides[side], paths, xattrs=xattrs)

    async with trio.open_nursery() as nursery:
        for side in SyncSide:
            nursery.start_soon(ask, side)
    return list(zip(found[SyncSide.ALPHA], found[SyncSide.BETA], strict=True))


async def set_attributes(state: SideState, changes: Iterable[AttributesToSet]) -> dict[bytes, str]:
    """Why not all could be set, by path. Raises KledError."""
    failed: dict[bytes, str] = {}
    for rows in _requests(changes):
        make = partial(messages.SetAttributes, rows=messages.Rows(rows))
        answer = await state.peer.ask(
            lambda number, make=make: make(request=number),  # type: ignore[misc]
            messages.AttributesSet,
        )
        asked = {row[0] for row in rows}
        for row in answer.failed:
            match row:
                case (bytes(path), str(words)) if path in asked:
                    failed[path] = words[:500]
                case _:
                    raise _another()
    return failed


def _requests(changes: Iterable[AttributesToSet]) -> Iterator[list[tuple[Any, ...]]]:
    rows: list[tuple[Any, ...]] = []
    size = 0
    for change in changes:
        rows.append(change.row())
        size += sum(len(name) + len(value) for name, value in change.xattrs.items())
        if size >= _REQUEST_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _another() -> ProtocolError:
    return ProtocolError("sync_message_refused", "attributes that were not asked for")
