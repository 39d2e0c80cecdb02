"""Queries: how long the steps of builds took, and when agents came after them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from kled_coord.store.builds import newest_start
from kled_coord.store.records import AgentArrival
from kled_coord.store.schema import agent_arrivals, agents, builds

# An agent that comes later was not what the build's owner waited for.
_ARRIVES_WITHIN: Final = timedelta(minutes=10)


def note_arrival(connection: Connection, agent_id: str, now: datetime) -> None:
    """An agent has connected: keep when, if that is its first time in its newest start."""
    workspace_id = connection.execute(
        select(agents.c.workspace_id).where(agents.c.id == agent_id)
    ).scalar_one()
    start = newest_start(connection, workspace_id)
    if start is None or start.started_at is None:
        return
    if start.finished_at is not None and now - start.finished_at > _ARRIVES_WITHIN:
        return
    this = agent_arrivals.c.build_id == start.id, agent_arrivals.c.agent_id == agent_id
    if connection.execute(select(agent_arrivals.c.agent_id).where(*this)).first() is None:
        values = {"build_id": start.id, "agent_id": agent_id, "connected_at": now}
        connection.execute(insert(agent_arrivals).values(**values))


def build_timings(
    connection: Connection, build_id: str
) -> tuple[list[dict[str, Any]], list[AgentArrival]]:
    """The steps of a build as they are kept, and the agents that came."""
    steps = connection.execute(select(builds.c.timings).where(builds.c.id == build_id)).scalar_one()
    rows = connection.execute(
        select(agents.c.name, agent_arrivals.c.connected_at)
        .join(agents, agents.c.id == agent_arrivals.c.agent_id)
        .where(agent_arrivals.c.build_id == build_id)
        .order_by(agent_arrivals.c.connected_at)
    )
    return steps or [], [AgentArrival(**row._asdict()) for row in rows]
