"""Refused agents, reported to those who wait for them to connect."""

from __future__ import annotations

from datetime import datetime

import trio

from kled_coord.store.records import AgentRecord


class Refusals:
    """The last refusal of each agent, by workspace and name.

    By name and not by id, because a machine may still have the token of an agent that was revoked
    and made again. Of each name in the database there is at most one.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[datetime, str]] = {}
        self._changed = trio.Event()

    def note(self, agent: AgentRecord, why: str, at: datetime) -> None:
        """An agent was refused."""
        self._last[agent.workspace_id, agent.name] = at, why
        self._changed.set()
        self._changed = trio.Event()

    async def wait(self, agent: AgentRecord, since: datetime) -> str:
        """Return why an agent of this workspace and name was refused, at `since` or later."""
        while True:
            at, why = self._last.get((agent.workspace_id, agent.name), (since, ""))
            if why and at >= since:
                return why
            await self._changed.wait()
