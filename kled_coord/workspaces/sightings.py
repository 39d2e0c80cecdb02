"""Notes of when agents connect and leave: those that come at one time are one transaction.

When a coordinator starts again, all its agents connect within seconds; a transaction for each would
have the last ones wait longer than an agent waits for the answer to a ping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import trio

from kled_coord.store.agents import update_agent
from kled_coord.store.engine import Store
from kled_coord.store.timings import note_arrivals
from kled_wire.names import AgentId


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sighting:
    """An agent connected or left at `at`; `values` is what it said of itself, by column."""

    agent_id: AgentId
    at: datetime
    connected: bool
    values: Mapping[str, object]


class Sightings:
    """Writes sightings; whoever comes while a transaction runs is written by the next one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[Sighting] = []
        self._writing = trio.Lock()

    async def note(self, sighting: Sighting) -> None:
        """Return once the sighting is written, by this caller or with another one's.

        Raises StoreError for the caller that writes; what the others noted is lost then too. What
        a caller that is cancelled has not written, the next one writes.
        """
        self._waiting.append(sighting)
        async with self._writing:
            batch, self._waiting = self._waiting, []
            try:
                if batch:
                    await self._store.write(_note, batch)
            except trio.Cancelled:
                self._waiting = batch + self._waiting
                raise


def _note(connection: Any, batch: Sequence[Sighting]) -> None:
    note_arrivals(connection, {each.agent_id: each.at for each in batch if each.connected})
    for each in batch:
        update_agent(connection, each.agent_id, {"last_seen_at": each.at, **each.values})
