"""Queries: how long the steps of builds took, and when agents came after them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, exists, insert, or_, select

from kled_coord.store.records import AgentArrival
from kled_coord.store.schema import agent_arrivals, agents, builds
from kled_wire.names import AgentId

# An agent that comes later was not what the build's owner waited for.
_ARRIVES_WITHIN: Final = timedelta(minutes=10)

_THIS: Final = bindparam("this", type_=agents.c.id.type)
_NEWEST_START: Final = (
    select(builds.c.id)
    .join(agents, agents.c.workspace_id == builds.c.workspace_id)
    .where(agents.c.id == _THIS, builds.c.transition == "start")
    .order_by(builds.c.number.desc())
    .limit(1)
    .scalar_subquery()
)
_NOTED: Final = exists().where(
    agent_arrivals.c.build_id == builds.c.id, agent_arrivals.c.agent_id == _THIS
)
# One statement: when a coordinator starts, all agents connect at once.
_NOTE_ARRIVAL: Final = insert(agent_arrivals).from_select(
    ["build_id", "agent_id", "connected_at"],
    select(builds.c.id, _THIS, bindparam("at", type_=agent_arrivals.c.connected_at.type)).where(
        builds.c.id == _NEWEST_START,
        builds.c.started_at.is_not(None),
        or_(
            builds.c.finished_at.is_(None),
            builds.c.finished_at >= bindparam("not_before", type_=builds.c.finished_at.type),
        ),
        ~_NOTED,
    ),
)


def note_arrivals(connection: Connection, arrived: Mapping[AgentId, datetime]) -> None:
    """Agents have connected: keep when, of those that do so first in their newest start."""
    rows = [
        {"this": agent_id, "at": at, "not_before": at - _ARRIVES_WITHIN}
        for agent_id, at in arrived.items()
    ]
    if rows:
        connection.execute(_NOTE_ARRIVAL, rows)


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
