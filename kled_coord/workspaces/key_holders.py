"""Sends agents the list of registered keys that they accept, and again after every change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Never

import structlog
import trio

from kled_coord.identity.audit import Audit
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.policy.roles import Role
from kled_coord.sources import Clock
from kled_coord.store.engine import Store
from kled_coord.store.errors import StoreError
from kled_coord.store.records import AgentRecord
from kled_coord.store.user_keys import KeyHolder, key_holders, keys_of_agent, mark_key_used
from kled_coord.store.workspaces import workspace_by_id
from kled_coord.workspaces.presence import Registry
from kled_wire import limits
from kled_wire.control.messages import UserKey
from kled_wire.errors import UnavailableError
from kled_wire.names import AgentId, UserId

_ANSWER_S: Final = 5.0
_AGAIN_S: Final = 10.0
# An agent that has heard nothing for so long lets no key in.
_UNHEARD: Final = timedelta(seconds=limits.KEYS_UNHEARD_S)

log = structlog.get_logger(__name__)


class AgentKeys:
    """Which keys each agent lets in, and telling them. `allowed` False: none anywhere."""

    def __init__(
        self, *, store: Store, clock: Clock, audit: Audit, registry: Registry, allowed: bool
    ) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit
        self._registry = registry
        self._allowed = allowed
        # Counts the times that lists have changed: what was read before is old.
        self.changes = 0
        # How long an agent has to say that it has its list, in seconds.
        self.answer_s = _ANSWER_S
        self._untold: set[tuple[UserId, int]] = set()

    async def good_for(self, agent_id: AgentId) -> tuple[UserKey, ...]:
        """The list for an agent, as of now. Raises StoreError."""
        if not self._allowed:
            return ()
        now = self._clock()
        return tuple(
            UserKey(
                id=key.id,
                user=key.user_id,
                key=key.public_key,
                expires_in_s=(key.expires_at - now).total_seconds(),
            )
            for key in await self._store.read(keys_of_agent, agent_id, now)
        )

    async def tell(self, user_id: UserId) -> Sequence[str]:
        """Give the user's agents their lists anew, after a change.

        Returns the workspaces whose agents have not answered within some seconds and may go on with
        the old list; "*" where it is not known which there are. What fails or is cancelled here
        is done by `tell_again`.
        """
        self.changes += 1
        untold = user_id, self.changes
        self._untold.add(untold)
        try:
            holders = await self._store.read(key_holders, user_id)
        except StoreError as error:
            # The change itself stands.
            log.warning("keys_not_told", user=user_id, reason=error.message)
            return ["*"]
        unanswered: set[str] = set()
        failed: set[str] = set()
        async with trio.open_nursery() as nursery:
            for holder in holders:
                nursery.start_soon(self._tell_one, holder, unanswered, failed)
        if not failed:
            self._untold.discard(untold)
        return sorted(unanswered | failed)

    async def serve(self) -> Never:
        """Tell those whose telling was interrupted, every few seconds, until cancelled."""
        while True:
            await trio.sleep(_AGAIN_S)
            await self.tell_again()

    async def tell_again(self) -> None:
        """Tell those whose telling was interrupted."""
        async with trio.open_nursery() as nursery:
            for untold in list(self._untold):
                self._untold.discard(untold)
                nursery.start_soon(self.tell, untold[0])

    async def _tell_one(self, holder: KeyHolder, unanswered: set[str], failed: set[str]) -> None:
        """`failed`: the list was not even sent, though there is a link that it could go over."""
        read = partial(self.good_for, holder.agent_id)
        late = failed
        try:
            with trio.fail_after(self.answer_s):
                wait_answered = await self._registry.give_keys(holder.agent_id, read)
                late = unanswered
                await wait_answered()
        except StoreError as error:
            log.warning("keys_not_told", agent=holder.agent_id, reason=error.message)
            failed.add(holder.workspace)
        except trio.TooSlowError:
            late.add(holder.workspace)
        except UnavailableError:
            # The next link of the agent begins with the list.
            if self._may_go_on(holder, self._clock()):
                unanswered.add(holder.workspace)

    def _may_go_on(self, holder: KeyHolder, now: datetime) -> bool:
        """Whether an agent that does not answer may still let the keys of an old list in."""
        if self._registry.state(holder.agent_id) is not None:
            return True
        return holder.last_seen_at is not None and now - holder.last_seen_at < _UNHEARD

    async def used(self, agent: AgentRecord, key_id: str) -> None:
        """An agent says that somebody came in with a key: that is audited. Raises StoreError."""
        now = self._clock()
        workspace = await self._store.read(workspace_by_id, agent.workspace_id)
        key = await self._store.write(mark_key_used, key_id, now)
        if workspace is None:
            return
        # Nobody but the owner enters a workspace; the stream's own token is in its session.
        caller = Caller(
            user_id=workspace.owner_id,
            user_name=workspace.owner_name,
            role=Role.MEMBER,
            scopes=(),
            token_id="",
        )
        fingerprint = key.fingerprint if key else "removed meanwhile"
        detail = f"workspace {workspace.id}, {fingerprint}"
        await self._audit.record(
            caller, Action.KEY_USE, ActionTarget(kind="key", name=key_id), detail=detail
        )
