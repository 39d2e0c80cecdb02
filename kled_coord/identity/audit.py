"""The audit log: a row for every change, and for every refusal."""

from __future__ import annotations

from typing import Final

import structlog

from kled_coord.identity.throttle import Throttle
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller, decide, require
from kled_coord.sources import Clock, Ids, Monotonic
from kled_coord.store.audit import find_audit, insert_audit
from kled_coord.store.engine import Store
from kled_coord.store.errors import StoreError
from kled_coord.store.filters import AuditFilter
from kled_coord.store.records import AuditRow

# A program that is refused goes on asking: the same refusal is a row once an hour, and all those
# of one token are so many rows in a minute.
_SAME_EVERY_S: Final = 3600.0
_REFUSALS_A_MINUTE: Final = 60
EVERY_AUDIT_ROW: Final = AuditFilter()

log = structlog.get_logger(__name__)


class Audit:
    """Writes and reads the audit log; `require` is the policy with its refusals recorded."""

    def __init__(self, *, store: Store, clock: Clock, monotonic: Monotonic, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._ids = ids
        self._same = Throttle(1, _SAME_EVERY_S)
        self._refusals = Throttle(_REFUSALS_A_MINUTE, 60.0)

    async def require(self, caller: Caller, action: Action, resource: ActionTarget) -> None:
        """Ask the policy. Raises ForbiddenError or NotFoundError, after recording that."""
        decision = decide(caller, action, resource)
        if not decision.allowed:
            await self.refused(caller, action, resource, decision.reason)
        require(caller, action, resource)

    async def refused(
        self, caller: Caller, action: Action, resource: ActionTarget, reason: str
    ) -> None:
        """Note that a caller was refused; not each time where they ask again and again."""
        now = self._monotonic()
        same = f"{caller.token_id} {action} {resource} {reason}"
        if self._same.wait_s(same, now) == 0 and self._refusals.allow(caller.token_id, now):
            self._same.count(same, now)
            await self.note(caller, action, resource, allowed=False, detail=reason)

    async def note(
        self,
        caller: Caller | None,
        action: Action,
        resource: ActionTarget,
        *,
        allowed: bool = True,
        detail: str = "",
    ) -> None:
        """Append a row of what changes nothing; where it cannot be kept, only the log has it.

        So a full disk locks nobody out.
        """
        try:
            await self.record(caller, action, resource, allowed=allowed, detail=detail)
        except StoreError as error:
            log.warning(
                "audit_not_kept",
                code=error.code,
                user=caller.user_name if caller else None,
                action=action.value,
                resource=str(resource)[:120],
                allowed=allowed,
                detail=detail[:1000],
            )

    async def record(
        self,
        caller: Caller | None,
        action: Action,
        resource: ActionTarget,
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

    async def newest(self, limit: int, wanted: AuditFilter = EVERY_AUDIT_ROW) -> list[AuditRow]:
        """The newest rows that fit, the newest first."""
        return await self._store.read(find_audit, wanted, limit)
