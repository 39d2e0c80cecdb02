"""Which of a workspace's agents its name means. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kled_coord.store.records import AgentRecord
from kled_wire.errors import ConflictError, UnavailableError

MAIN: Final = "main"
# Of a workspace with very many agents an error names only so many.
_LISTED_MAX: Final = 10


def choose_agent(agents: Sequence[AgentRecord]) -> AgentRecord:
    """The agent named `main`, else the only one: never one of several by chance.

    Raises UnavailableError("agent_never_started"), ConflictError("agent_ambiguous").
    """
    main = next((agent for agent in agents if agent.name == MAIN), None)
    if main is not None:
        return main
    if not agents:
        raise UnavailableError(
            "agent_never_started",
            "this workspace has no agent yet",
            hint="start it: kled start NAME",
        )
    if len(agents) > 1:
        names = sorted(agent.name for agent in agents)
        more = f" and {len(names) - _LISTED_MAX} more" if len(names) > _LISTED_MAX else ""
        raise ConflictError(
            "agent_ambiguous",
            f"this workspace has {len(agents)} agents and none of them is named {MAIN}: "
            f"{', '.join(names[:_LISTED_MAX])}{more}",
            hint=f'in its template, give one kled_agent the name "{MAIN}"',
        )
    return agents[0]
