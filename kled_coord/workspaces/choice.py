"""Chooses the agent that a workspace's name means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kled_coord.store.records import AgentRecord
from kled_wire.errors import ConflictError, NotFoundError, UnavailableError

MAIN: Final = "main"
# How many agents an error names.
_LISTED_MAX: Final = 10


def choose_agent(agents: Sequence[AgentRecord], asked: str | None = None) -> AgentRecord:
    """The agent that was asked for, else `main`, else the one of the lowest order.

    Never one of several by chance. Raises NotFoundError("agent_not_found"),
    UnavailableError("agent_never_started"), ConflictError("agent_ambiguous").
    """
    if asked is not None and agents:
        return _named(agents, asked)
    main = next((agent for agent in agents if agent.name == MAIN), None)
    if main is not None:
        return main
    if not agents:
        raise UnavailableError(
            "agent_never_started",
            "this workspace has no agent",
            hint="start it: kled start NAME; where it runs already, its template makes none",
        )
    lowest = min(agent.position for agent in agents)
    first, *others = [agent for agent in agents if agent.position == lowest]
    if others:
        raise ConflictError(
            "agent_ambiguous",
            f"this workspace has {len(agents)} agents and none of them is named {MAIN} or has the "
            f"lowest order: {_listed(agents)}",
            hint=f"name one: {first.name}--WORKSPACE; or in its template, give one the name "
            f'"{MAIN}" or an order',
        )
    return first


def _named(agents: Sequence[AgentRecord], name: str) -> AgentRecord:
    for agent in agents:
        if agent.name == name:
            return agent
    raise NotFoundError(
        "agent_not_found",
        f"this workspace has no agent {name}",
        hint=f"it has {_listed(agents)}",
    )


def _listed(agents: Sequence[AgentRecord]) -> str:
    names = sorted(agent.name for agent in agents)
    more = f" and {len(names) - _LISTED_MAX} more" if len(names) > _LISTED_MAX else ""
    return f"{', '.join(names[:_LISTED_MAX])}{more}"
