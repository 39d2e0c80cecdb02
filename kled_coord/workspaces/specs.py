"""The specs of agents from the newest start that succeeded, stored sealed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Final

import structlog

from kled_coord.store.agents import agent_specs, save_agent_specs
from kled_coord.store.engine import Store
from kled_coord.store.sealing import Sealer
from kled_wire.control.agent_spec import AgentSpec, from_plain, to_plain
from kled_wire.errors import KledError
from kled_wire.names import AgentId, WorkspaceId

_PURPOSE: Final = "agent_spec"
_ORDER_MAX: Final = 2**31 - 1

log = structlog.get_logger(__name__)


class Specs:
    """Keeps the specs of agents."""

    def __init__(self, *, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    def seal(self, agent_id: AgentId, spec: AgentSpec) -> bytes:
        """What `save_agent_specs` (kled_coord/store/agents.py) takes."""
        plain = json.dumps(to_plain(spec)).encode()
        return self._sealer.seal(_PURPOSE, agent_id, plain)

    async def save(self, workspace_id: WorkspaceId, specs: Mapping[AgentId, AgentSpec]) -> None:
        """Keep these of a workspace's agents; others stay as they are. Raises StoreError."""
        sealed = {
            agent_id: (self.seal(agent_id, spec), min(max(spec.order, -_ORDER_MAX), _ORDER_MAX))
            for agent_id, spec in specs.items()
        }
        await self._store.write(save_agent_specs, workspace_id, sealed)

    async def of(self, agent_ids: Collection[AgentId]) -> dict[AgentId, AgentSpec]:
        """By agent; one that nothing is said of, or that cannot be read, is left out.

        Raises StoreError.
        """
        found: dict[AgentId, AgentSpec] = {}
        for agent_id, sealed in (await self._store.read(agent_specs, agent_ids)).items():
            try:
                plain = json.loads(self._sealer.open(_PURPOSE, agent_id, sealed))
                found[agent_id] = from_plain(plain)
            except (KledError, ValueError) as error:
                log.error("agent_spec_unreadable", agent=agent_id, reason=str(error))
        return found
