"""Requests of a session for old versions that an endpoint keeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from kled_sync.decide.modes import SyncSide
from kled_sync.files.writing.kept import ATTRIBUTES, MOVED
from kled_sync.session.sides.side import Sides, SideState
from kled_sync.tree.paths import check_path, is_below, shown
from kled_sync.tree.tree import is_or_is_below
from kled_sync.wire import messages
from kled_sync.wire.messages import KEPT_MAX, UNTIL
from kled_wire.errors import NotFoundError, ProtocolError

# Half of what the log tells apart.
_HALF_S: Final = 5e-7
Settle = Callable[[], Awaitable[None]]


async def history(side: SideState, path: bytes) -> list[dict[str, Any]]:
    """The versions kept of `path` and below, newest first. Raises KledError."""
    rows = [_row(version) for version in await _versions(side, path)]
    return [{**row, "at": row["at"] - side.ahead_s} for row in rows]


async def _versions(side: SideState, path: bytes) -> messages.Rows:
    answer = await side.peer.ask(
        lambda number: messages.AskKept(request=number, path=path), messages.Kept
    )
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


class _Lost(NamedTuple):
    """A version, by the clock of this machine; `source` is where a directory was moved from."""

    at_s: float
    side: SyncSide
    path: bytes
    what: str
    source: bytes | None = None

    @property
    def paths(self) -> tuple[bytes, ...]:
        return (self.path,) if self.source is None else (self.path, self.source)


class _Window(NamedTuple):
    """A time, from its beginning to before its end, of which all is undone; 0 begins: the last."""

    since_s: float
    until_s: float


async def undo_on_both(
    sides: Sides,
    path: bytes,
    *,
    since_s: float,
    settle: Settle | None = None,
) -> dict[SyncSide, list[bytes]]:
    """`undo` of each path on the side that lost it last, or first since then; the sync does the
    rest. Both sides would bring back different versions. Raises KledError.

    A move is undone, on both sides, before what was lost earlier under the old name comes back:
    `settle` waits until the sync has done the rest. Without it, with an older side, or with 1000
    versions and more since then, all is undone at once.
    """
    known = all(state.facts.get(UNTIL) is True for state in sides.values())
    names, lost = [path], await _lost_since(sides, [path], since_s)
    moves: set[float] = set()
    if settle is not None and since_s and known:
        # Also what was lost under other names.
        topmost = _topmost({path, *(name for one in lost for name in one.paths)})
        found = await _lost_since(sides, topmost, since_s)
        if len(found) < KEPT_MAX:  # else some were not told of
            names, lost = topmost, found
            moves = {one.at_s for one in lost if one.what == MOVED}
    done: dict[SyncSide, list[bytes]] = {side: [] for side in sides}
    waits = settle if any(one.what == MOVED for one in lost) else None
    for number, (side, window, spared, within) in enumerate(_steps(lost, moves, since_s)):
        if waits is not None and number:
            await waits()
        until_s = window.until_s if known else 0.0
        for name in _concerned(names, within, side) if moves else names:
            done[side] += await undo(
                sides[side], name, since_s=window.since_s, spared=spared, until_s=until_s
            )
    return done


def _steps(
    lost: Sequence[_Lost], moves: Collection[float], since_s: float
) -> Iterator[tuple[SyncSide, _Window, list[bytes], list[_Lost]]]:
    """What each side undoes in turn: a time, what it is to leave alone, all that was lost then."""
    end_s = max((one.at_s for one in lost), default=since_s) + _HALF_S
    for window in _windows(sorted(moves, reverse=True), since_s, end_s):
        within = [one for one in lost if window.since_s <= one.at_s < window.until_s]
        for side in _movers_last(within, () if moves else SyncSide):
            yield side, window, _spared(within, side, oldest=bool(since_s)), within


async def _lost_since(sides: Sides, names: Sequence[bytes], since_s: float) -> list[_Lost]:
    return [
        one
        for side, state in sides.items()
        for name in names
        for one in await _lost(side, state, name)
        if one.at_s >= since_s
    ]


def _concerned(names: Sequence[bytes], within: Sequence[_Lost], side: SyncSide) -> list[bytes]:
    paths = [path for one in within if one.side is side for path in one.paths]
    return [name for name in names if any(is_or_is_below(path, name) for path in paths)]


def _windows(moves: Sequence[float], since_s: float, end_s: float) -> Iterator[_Window]:
    """Newest first: what came after each move, then the move."""
    for at_s in moves:
        yield _Window(at_s + _HALF_S, end_s)
        yield _Window(at_s - _HALF_S, at_s + _HALF_S)
        end_s = at_s - _HALF_S
    yield _Window(since_s, end_s)


def _topmost(names: set[bytes]) -> list[bytes]:
    return sorted(name for name in names if not any(is_below(name, top) for top in names))


def _movers_last(within: Sequence[_Lost], others: Iterable[SyncSide]) -> list[SyncSide]:
    """The sides that lost something, and `others`; a move is undone after what is in it."""
    movers = {one.side for one in within if one.what == MOVED}
    losers = {one.side for one in within}
    return sorted(losers.union(others), key=lambda side: (side in movers, side.value))


def _spared(within: Sequence[_Lost], side: SyncSide, *, oldest: bool) -> list[bytes]:
    """The paths that the other side is to bring back."""
    ranks: dict[bytes, dict[SyncSide, tuple[bool, float]]] = {}
    for one in within:
        # A content has its attributes with it.
        rank = (one.what == ATTRIBUTES, one.at_s) if oldest else (False, -one.at_s)
        for path in one.paths:
            found = ranks.setdefault(path, {})
            found[one.side] = min(found.get(one.side, rank), rank)
    own = ((path, found) for path, found in ranks.items() if side in found)
    return [path for path, found in own if found[side] > min(found.values())]


async def _lost(side: SyncSide, state: SideState, path: bytes) -> list[_Lost]:
    found = []
    for version in await _versions(state, path):
        match version:
            case (int(), float(at_s), bytes(name), str(what), int(), *source):
                paths = map(check_path, (name, *source))
                found.append(
                    _Lost(at_s - state.ahead_s, side, next(paths), what, next(paths, None))
                )
            case _:
                raise _refused()
    return found


def _refused() -> ProtocolError:
    return ProtocolError("sync_message_refused", "an invalid version")


async def undo(
    side: SideState,
    path: bytes,
    *,
    since_s: float,
    purge: bool = False,
    spared: Sequence[bytes] = (),
    until_s: float = 0.0,
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
                until_s=until_s + side.ahead_s if until_s else 0.0,
            ),
            messages.Undone,
        )
    except NotFoundError:
        return []
    return list(answer.paths)
