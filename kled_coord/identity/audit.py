"""The audit log: a row for everything that changes something, and for every refusal."""

from __future__ import annotations

from kled_coord.policy.actions import Action, Resource
from kled_coord.policy.decide import Caller, decide, require
from kled_coord.sources import Clock, Ids
from kled_coord.store.audit import insert_audit, list_audit
from kled_coord.store.engine import Store
from kled_coord.store.records import AuditRow


class Audit:
    """Writes and reads the audit log; `require` is the policy with its refusals recorded."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def require(self, caller: Caller, action: Action, resource: Resource) -> None:
        """Ask the policy. Raises ForbiddenError or NotFoundError, after recording that."""
        decision = decide(caller, action, resource)
        if not decision.allowed:
            await self.record(caller, action, resource, allowed=False, detail=decision.reason)
        require(caller, action, resource)

    async def record(
        self,
        caller: Caller | None,
        action: Action,
        resource: Resource,
        *,
        allowed: bool = True,
        detail: str = "",
    ) -> None:
        """Append a row; `caller` None where nobody is authenticated. Raises StoreError."""
        row = AuditRow(
            id=self._ids.new("aud"),
            at=self._clock(),
            user_id=caller.user_id if caller else None,
            user_name=caller.user_name if caller else None,
            token_id=caller.token_id if caller else None,
            action=action.value,
            resource=str(resource)[:120],
            allowed=allowed,
            detail=detail[:1000],
        )
        await self._store.write(insert_audit, row)

    async def newest(self, limit: int) -> list[AuditRow]:
        """The newest rows, the newest first."""
        return await self._store.read(list_audit, limit)
