"""Queries: the agents of workspaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from kled_coord.store.records import AgentRecord
from kled_coord.store.schema import agents, workspaces
from kled_wire.names import AgentId

_NOT_SHOWN = {"token_hash", "token_sealed", "generation", "spec_sealed"}
_COLUMNS = tuple(column for column in agents.c if column.name not in _NOT_SHOWN)
_ALIVE = agents.c.revoked_at.is_(None)


def insert_agent(
    connection: Connection,
    *,
    agent_id: str,
    workspace_id: str,
    name: str,
    token_hash: bytes,
    token_sealed: bytes,
    now: datetime,
) -> None:
    """Add an agent. Raises DuplicateError when the workspace has one of that name."""
    connection.execute(
        insert(agents).values(
            id=agent_id,
            workspace_id=workspace_id,
            name=name,
            token_hash=token_hash,
            token_sealed=token_sealed,
            created_at=now,
        )
    )


def agent_by_token(connection: Connection, token_hash: bytes) -> AgentRecord | None:
    """The agent whose token hashes to `token_hash`, also when revoked."""
    row = connection.execute(select(*_COLUMNS).where(agents.c.token_hash == token_hash)).first()
    return None if row is None else AgentRecord(**row._asdict())


def agent_by_name(
    connection: Connection, workspace_id: str, name: str
) -> tuple[AgentRecord, bytes] | None:
    """A workspace's agent of that name that is not revoked, with its sealed token."""
    return _sealed_one(connection, workspace_id, agents.c.name == name)


def adopt_agent(
    connection: Connection, workspace_id: str, name: str, generation: str
) -> tuple[AgentRecord, bytes] | None:
    """As `agent_by_name`; the agent is of `generation` from now on."""
    found = agents.c.workspace_id == workspace_id, agents.c.name == name, _ALIVE
    connection.execute(update(agents).where(*found).values(generation=generation))
    return agent_by_name(connection, workspace_id, name)


def agent_of_generation(
    connection: Connection, workspace_id: str, agent_id: str, generation: str
) -> tuple[AgentRecord, bytes] | None:
    """A workspace's agent that is of `generation` and not revoked, with its sealed token."""
    return _sealed_one(connection, workspace_id, _is(agent_id, generation))


def _is(agent_id: str, generation: str | None) -> ColumnElement[bool]:
    wanted = agents.c.id == agent_id
    return wanted if generation is None else and_(wanted, agents.c.generation == generation)


def _sealed_one(
    connection: Connection, workspace_id: str, which: ColumnElement[bool]
) -> tuple[AgentRecord, bytes] | None:
    query = select(*_COLUMNS, agents.c.token_sealed).where(
        agents.c.workspace_id == workspace_id, which, _ALIVE
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    values = row._asdict()
    sealed = bytes(values.pop("token_sealed"))
    return AgentRecord(**values), sealed


def agents_of(connection: Connection, workspace_ids: Collection[str]) -> list[AgentRecord]:
    """The agents that are not revoked of some workspaces, as the template has them."""
    rows = connection.execute(
        select(*_COLUMNS)
        .where(agents.c.workspace_id.in_(workspace_ids), _ALIVE)
        .order_by(agents.c.position, agents.c.created_at, agents.c.id)
    )
    return [AgentRecord(**row._asdict()) for row in rows]


def agents_of_owners(connection: Connection, user_ids: Collection[str]) -> list[AgentId]:
    """The agents that are not revoked of all workspaces of some users."""
    found = connection.execute(
        select(agents.c.id)
        .join(workspaces, workspaces.c.id == agents.c.workspace_id)
        .where(workspaces.c.owner_id.in_(user_ids), _ALIVE)
    )
    return [AgentId(agent_id) for agent_id in found.scalars()]


def update_agent(connection: Connection, agent_id: str, values: dict[str, Any]) -> None:
    """Write what is newly known of an agent, by column name."""
    connection.execute(update(agents).where(agents.c.id == agent_id).values(**values))


def configure_agent(
    connection: Connection,
    workspace_id: str,
    agent_id: str,
    *,
    environment: dict[str, str] | None,
    directory: str | None,
) -> bool:
    """Write what a workspace's agent gives its sessions; False where there is no such agent."""
    found = connection.execute(
        update(agents)
        .where(agents.c.id == agent_id, agents.c.workspace_id == workspace_id, _ALIVE)
        .values(environment=environment, directory=directory)
        .returning(agents.c.id)
    )
    return found.first() is not None


def name_agents(connection: Connection, workspace_id: str, names: Mapping[AgentId, str]) -> None:
    """Give agents of a workspace their names, by id; two may take each other's."""
    rows = connection.execute(
        select(agents.c.id, agents.c.name).where(
            agents.c.workspace_id == workspace_id, agents.c.id.in_(names), _ALIVE
        )
    )
    changed = [AgentId(row.id) for row in rows if row.name != names[AgentId(row.id)]]
    # No two have one name at any time: first all are called by what nobody else is.
    for name_of in (str, names.__getitem__):
        for agent_id in changed:
            this = agents.c.id == agent_id
            connection.execute(update(agents).where(this).values(name=name_of(agent_id)))


def save_agent_specs(
    connection: Connection, workspace_id: str, sealed: Mapping[AgentId, tuple[bytes, int]]
) -> None:
    """Write, by id, what a template says of a workspace's agents, and its order."""
    for agent_id, (spec, position) in sealed.items():
        this = agents.c.id == agent_id, agents.c.workspace_id == workspace_id, _ALIVE
        connection.execute(update(agents).where(*this).values(spec_sealed=spec, position=position))


def agent_specs(connection: Connection, agent_ids: Collection[str]) -> dict[AgentId, bytes]:
    """What their templates say of some agents, sealed; those that are said nothing of are not."""
    rows = connection.execute(
        select(agents.c.id, agents.c.spec_sealed).where(
            agents.c.id.in_(agent_ids), agents.c.spec_sealed.is_not(None)
        )
    )
    return {AgentId(row.id): bytes(row.spec_sealed) for row in rows}


def revoke_agents(
    connection: Connection,
    workspace_id: str,
    now: datetime,
    *,
    one: tuple[str, str | None] | None = None,
) -> list[str]:
    """Revoke the agent with this id and generation (None: any), or (None) all of a workspace.

    Returns the ids revoked now.
    """
    query = update(agents).where(agents.c.workspace_id == workspace_id, _ALIVE)
    if one is not None:
        query = query.where(_is(*one))
    revoked = connection.execute(query.values(revoked_at=now).returning(agents.c.id))
    return list(revoked.scalars())
