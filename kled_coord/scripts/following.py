"""Follows the runs of a build's scripts: their states and their output."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import trio

from kled_coord.changes import Changes
from kled_coord.scripts.readiness import ENDED
from kled_coord.scripts.service import scripts_key
from kled_coord.store.engine import Store
from kled_coord.store.records import ScriptRun
from kled_coord.store.scripts import script_pieces, script_runs_of
from kled_wire.names import AgentId, BuildId, WorkspaceId

# Pieces have 16 KiB each.
_PIECES_MAX: Final = 16
# An agent may be linked to another process, and its writes notify nobody here.
_LOOK_AGAIN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What a run has printed; before it `cut_bytes` were too much to be kept."""

    run: ScriptRun
    data: bytes
    cut_bytes: int


@dataclass(slots=True)
class _Cursor:
    """How far one run has been read: `shown` bytes of the row at `start`; all that `end`s there."""

    state: str = ""
    start: int = 0
    shown: int = 0
    end: int = 0


async def follow_scripts(
    store: Store,
    changes: Changes,
    workspace_id: WorkspaceId,
    build_id: BuildId,
    *,
    shows: Callable[[ScriptRun], bool],
    is_over: Callable[[list[ScriptRun]], Awaitable[bool]] | None,
) -> AsyncIterator[ScriptRun | Printed]:
    """Each run when it is first seen and when its state changes, and what it prints in between.

    Those only that it `shows`. Until `is_over`, given these, says that no more is to be waited for;
    None: only what is there. Its end comes after what a run printed. Raises StoreError.
    """
    cursors: dict[tuple[AgentId, str], _Cursor] = {}
    while True:
        changed = changes.next_change(scripts_key(workspace_id))
        runs = [run for run in await store.read(script_runs_of, build_id) if shows(run)]
        for run in runs:
            cursor = cursors.setdefault((run.agent_id, run.run), _Cursor())
            async for item in _news(store, run, cursor):
                yield item
        if is_over is None or await is_over(runs):
            return
        with trio.move_on_after(_LOOK_AGAIN_S):
            await changed.wait()


async def _news(
    store: Store, run: ScriptRun, cursor: _Cursor
) -> AsyncIterator[ScriptRun | Printed]:
    """What is new of one run. Before what it printed it has not ended."""
    before = run if run.state not in ENDED else replace(run, state="running", note="")
    if cursor.state not in {before.state, *ENDED}:
        yield before
    # Output may be stored between the look at the runs and the one at the pieces.
    if run.state != "waiting":
        async for printed in _read(store, run, cursor):
            yield printed
    if run.state in ENDED and cursor.state not in ENDED:
        yield run
    cursor.state = run.state


async def _read(store: Store, run: ScriptRun, cursor: _Cursor) -> AsyncIterator[Printed]:
    """What is kept of a run from the cursor on."""
    while True:
        pieces = await store.read(script_pieces, run.agent_id, run.run, cursor.start, _PIECES_MAX)
        for piece in pieces:
            known = cursor.shown if piece.start == cursor.start else 0
            cut = max(piece.start - cursor.end, 0)
            if len(piece.data) > known:
                yield Printed(run=run, data=piece.data[known:], cut_bytes=cut)
            cursor.start, cursor.shown = piece.start, len(piece.data)
            cursor.end = piece.start + piece.size
        if len(pieces) < _PIECES_MAX:
            return


async def read_text(store: Store, run: ScriptRun) -> bytes:
    """All that is kept of a run's output, with a line where something was cut. Raises StoreError.

    At most limits.SCRIPT_HEAD_BYTES and SCRIPT_TAIL_BYTES, and what hiding secrets adds.
    """
    text = bytearray()
    async for printed in _read(store, run, _Cursor()):
        if printed.cut_bytes:
            text += cut_line(printed.cut_bytes)
        text += printed.data
    return bytes(text)


def cut_line(cut_bytes: int) -> bytes:
    """What stands where output was cut."""
    return f"\n[... {cut_bytes} bytes were cut here ...]\n".encode()
