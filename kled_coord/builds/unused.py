"""Stops workspaces that nobody has used for as long as their template says."""

from __future__ import annotations

import structlog

from kled_coord.builds.service import Builds
from kled_coord.sources import Clock
from kled_coord.store.agents import agents_of
from kled_coord.store.engine import Store
from kled_coord.store.records import AgentRecord
from kled_coord.store.workspaces import unused_workspaces
from kled_coord.workspaces.presence import Registry
from kled_wire.errors import KledError

log = structlog.get_logger(__name__)


class Unused:
    """Stops unused workspaces each time it is asked to look."""

    def __init__(self, *, store: Store, clock: Clock, registry: Registry, builds: Builds) -> None:
        self._store = store
        self._clock = clock
        self._registry = registry
        self._builds = builds

    async def stop_all(self) -> None:
        """Queue a stop for each that is unused now. Raises StoreError."""
        for workspace in await self._store.read(unused_workspaces, self._clock()):
            agents = await self._store.read(agents_of, [workspace.id])
            if any(map(self._is_busy, agents)):
                continue
            try:
                await self._builds.stop_unused(workspace, "nobody used it")
            except KledError as error:
                log.warning("unused_not_stopped", workspace=workspace.id, reason=error.message)
            else:
                log.info("unused_stopped", workspace=workspace.id)

    def _is_busy(self, agent: AgentRecord) -> bool:
        """Its streams may be older than this coordinator, or past it: only the agent knows."""
        state = self._registry.state(agent.id)
        return state is not None and state.report is not None and state.report.streams > 0
