"""Queries: runs of scripts, and the head and tail of their output."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection, and_, delete, exists, insert, select, update

from kled_coord.store.records import ScriptPiece, ScriptRun
from kled_coord.store.schema import agents, builds, script_output, script_runs
from kled_wire import limits
from kled_wire.names import AgentId

# Pieces that follow each other are put together up to this, so that a script which prints a
# character at a time does not make a row of each.
_ROW_BYTES: Final = 16 * 1024


# How a run is, or what one of an agent's has printed.
ScriptNews = ScriptRun | tuple[AgentId, str, ScriptPiece]


def keep_script_news(connection: Connection, news: Sequence[ScriptNews]) -> None:
    """Write what agents have told, in the order they told it."""
    for each in news:
        if isinstance(each, ScriptRun):
            put_script_run(connection, each)
        else:
            append_script_output(connection, *each)


def put_script_run(connection: Connection, run: ScriptRun) -> bool:
    """Write how a run is. A new one takes the place of the one before in its build and stage.

    False where the build is not one of the agent's workspace.
    """
    of_workspace = select(builds.c.id).join(agents, agents.c.workspace_id == builds.c.workspace_id)
    found = of_workspace.where(agents.c.id == run.agent_id, builds.c.id == run.build_id)
    if connection.execute(found).first() is None:
        return False
    this = _is(script_runs, run.agent_id, run.run)
    values = asdict(run)
    if connection.execute(update(script_runs).where(this).values(**values)).rowcount:
        return True
    before = and_(
        script_runs.c.agent_id == run.agent_id,
        script_runs.c.build_id == run.build_id,
        script_runs.c.stage == run.stage,
        script_runs.c.script == run.script,
    )
    for old in connection.execute(select(script_runs.c.run).where(before)).scalars().all():
        connection.execute(delete(script_output).where(_is(script_output, run.agent_id, old)))
    connection.execute(delete(script_runs).where(before))
    connection.execute(insert(script_runs).values(**values))
    return True


def append_script_output(
    connection: Connection, agent_id: str, run: str, piece: ScriptPiece
) -> None:
    """Keep a piece of output of a run that is known, and drop what is neither head nor tail now."""
    this = _is(script_output, agent_id, run)
    known = exists().where(_is(script_runs, agent_id, run))
    last = connection.execute(
        select(script_output).where(this).order_by(script_output.c.start.desc()).limit(1)
    ).first()
    if not connection.execute(select(known)).scalar_one():
        return
    end = 0 if last is None else last.start + last.size
    if piece.start < end:
        return  # told twice
    if last is not None and piece.start == end and last.size + piece.size <= _ROW_BYTES:
        joined = {"size": last.size + piece.size, "data": bytes(last.data) + piece.data}
        row = and_(this, script_output.c.start == last.start)
        connection.execute(update(script_output).where(row).values(**joined))
    else:
        values = {"agent_id": agent_id, "run": run, **asdict(piece)}
        connection.execute(insert(script_output).values(**values))
    dropped = and_(
        this,
        script_output.c.start >= limits.SCRIPT_HEAD_BYTES,
        script_output.c.start + script_output.c.size
        <= piece.start + piece.size - limits.SCRIPT_TAIL_BYTES,
    )
    connection.execute(delete(script_output).where(dropped))


def script_runs_of(connection: Connection, build_id: str) -> list[ScriptRun]:
    """The runs of a build, by agent and as the template has them."""
    order = script_runs.c.agent_id, script_runs.c.stage, script_runs.c.position, script_runs.c.run
    rows = connection.execute(
        select(script_runs).where(script_runs.c.build_id == build_id).order_by(*order)
    )
    return [ScriptRun(**row._asdict()) for row in rows]


def script_run(
    connection: Connection, workspace_id: str, agent_id: str, run: str
) -> ScriptRun | None:
    """One run of a workspace's."""
    row = connection.execute(
        select(script_runs)
        .join(builds, builds.c.id == script_runs.c.build_id)
        .where(_is(script_runs, agent_id, run), builds.c.workspace_id == workspace_id)
    ).first()
    return None if row is None else ScriptRun(**row._asdict())


def newest_script_runs(connection: Connection, agent_ids: Collection[str]) -> list[ScriptRun]:
    """The newest run of each script in each stage of some agents, as the template has them.

    A script that a later start did not run again has its run of an earlier build.
    """
    rows = connection.execute(
        select(script_runs)
        .join(builds, builds.c.id == script_runs.c.build_id)
        .where(script_runs.c.agent_id.in_(agent_ids))
        .order_by(builds.c.number)
    )
    found = [ScriptRun(**row._asdict()) for row in rows]
    newest = {(run.agent_id, run.stage, run.script): run for run in found}
    return sorted(newest.values(), key=lambda run: (run.agent_id, run.stage, run.position))


def script_pieces(
    connection: Connection, agent_id: str, run: str, start: int, limit: int
) -> list[ScriptPiece]:
    """Up to `limit` pieces of a run's output, those that begin at byte `start` or later."""
    rows = connection.execute(
        select(script_output.c.start, script_output.c.size, script_output.c.data)
        .where(_is(script_output, agent_id, run), script_output.c.start >= start)
        .order_by(script_output.c.start)
        .limit(limit)
    )
    return [ScriptPiece(start=row.start, size=row.size, data=bytes(row.data)) for row in rows]


def drop_script_runs(connection: Connection, build_ids: Collection[str]) -> None:
    """Forget the runs of some builds."""
    these = script_runs.c.build_id.in_(build_ids)
    of_these = exists().where(
        script_runs.c.agent_id == script_output.c.agent_id,
        script_runs.c.run == script_output.c.run,
        these,
    )
    connection.execute(delete(script_output).where(of_these))
    connection.execute(delete(script_runs).where(these))


def _is(table: sa.Table, agent_id: str, run: str) -> sa.ColumnElement[bool]:
    return and_(table.c.agent_id == agent_id, table.c.run == run)
