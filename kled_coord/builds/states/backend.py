"""The `http` backend of Terraform state: it locks, seals, and keeps every version.

Terraform authenticates with a build's id and secret; both are good only while the build runs.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

import trio

from kled_coord.builds.states.file import is_successor, loses_nothing, managed_instances
from kled_coord.builds.states.sealed import SealedStates
from kled_coord.changes import Changes, state_key
from kled_coord.identity.secrets import hash_secret
from kled_coord.sources import Clock
from kled_coord.store.builds import build_secret
from kled_coord.store.engine import Store
from kled_coord.store.records import StateLock
from kled_coord.store.sealing import Sealer
from kled_coord.store.states import (
    drop_state_lock,
    next_state_version,
    state_lock,
    take_state_lock,
)
from kled_wire.errors import ConflictError, InputError, UnauthenticatedError
from kled_wire.names import BuildId, WorkspaceId

_LOCK_ID_MAX: Final = 100
_LOCK_INFO_MAX: Final = 16 * 1024

_T = TypeVar("_T")


class StateLockedError(ConflictError):
    """Somebody else holds the lock; `holder` is their lock as Terraform wrote it."""

    status: ClassVar[int] = 423

    def __init__(self, holder: StateLock) -> None:
        super().__init__("state_locked", f"the state is locked by build {holder.build_id}")
        self.holder = holder


@dataclass(frozen=True, slots=True, kw_only=True)
class StateWriter:
    """A build that may use the state of its workspace."""

    workspace_id: WorkspaceId
    build_id: BuildId


class States:
    """Keeps Terraform's state."""

    def __init__(self, *, store: Store, clock: Clock, changes: Changes, sealer: Sealer) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes
        self._sealed = SealedStates(sealer)

    async def authenticate(self, workspace_id: str, build_id: str, secret: str) -> StateWriter:
        """Who uses the state of this workspace. Raises UnauthenticatedError."""
        found = await self._store.read(build_secret, build_id)
        right = found is not None and hmac.compare_digest(found[1], hash_secret(secret))
        if found is None or not right or found[0] != workspace_id:
            raise UnauthenticatedError(
                "build_secret_invalid", "this build has ended, or may not use this state"
            )
        return StateWriter(workspace_id=WorkspaceId(found[0]), build_id=BuildId(build_id))

    async def read(self, writer: StateWriter) -> bytes | None:
        """The newest state, None when there is none. Raises StoreError, KledError."""
        return await self.newest(writer.workspace_id)

    async def is_empty(self, workspace_id: WorkspaceId) -> bool:
        """Whether the state names nothing that Terraform made. Raises StoreError, KledError."""
        content = await self.newest(workspace_id)
        return content is None or not managed_instances(json.loads(content))

    async def look(self, workspace_id: WorkspaceId, look: Callable[[Mapping[str, Any]], _T]) -> _T:
        """What `look` finds in the newest state, which is empty where there is none.

        Raises StoreError, KledError, and what `look` raises.
        """
        content = await self.newest(workspace_id)
        # In a thread: a state may have 64 MiB.
        return await trio.to_thread.run_sync(lambda: look(json.loads(content or b"{}")))

    async def write(self, writer: StateWriter, content: bytes | None, lock_id: str | None) -> None:
        """Append a version (None: the state was deleted) on behalf of a lock's holder.

        Raises InputError, ConflictError("state_lock_mismatch"), StoreError.
        """
        now = self._clock()

        # In the worker thread: checking and sealing 64 MiB takes a while.
        def append(connection: Any) -> None:
            if content is not None:
                _parse_object("state_invalid", content)
            version = next_state_version(connection, writer.workspace_id)
            _check_holder(state_lock(connection, writer.workspace_id), lock_id)
            self._sealed.append(
                connection,
                writer.workspace_id,
                version,
                content,
                build_id=writer.build_id,
                now=now,
            )

        await self._store.write(append)
        self._changes.notify(state_key(writer.workspace_id))

    async def adopt(self, workspace_id: WorkspaceId, build_id: BuildId, content: bytes) -> int:
        """Append the state that a build's Terraform could not save; returns its version.

        One that says nothing new is not appended. Raises ConflictError("state_superseded") where
        the state has moved on without something that it names, InputError, StoreError, KledError.
        """
        now = self._clock()

        def append(connection: Any) -> int:
            new = _parse_object("state_invalid", content)
            version = next_state_version(connection, workspace_id)
            holder = state_lock(connection, workspace_id)
            newest, opened = self._sealed.newest(connection, workspace_id)
            kept = {} if opened is None else _parse_object("state_invalid", opened)
            is_locked = holder is not None and holder.build_id != build_id
            if is_locked or not (opened is None or is_successor(kept, new)):
                if loses_nothing(kept, new):
                    return newest
                raise _superseded(holder if is_locked else None, kept, new)
            self._sealed.append(
                connection, workspace_id, version, content, build_id=build_id, now=now
            )
            return version

        return await self._store.write(append)

    async def newest(self, workspace_id: WorkspaceId) -> bytes | None:
        """The newest state of a workspace, None when there is none. Raises as `read`."""
        _, content = await self._store.read(self._sealed.newest, workspace_id)
        return content

    async def lock(self, writer: StateWriter, info: bytes) -> None:
        """Take the lock. Raises StateLockedError, InputError."""
        lock = StateLock(
            workspace_id=writer.workspace_id,
            lock_id=_lock_id(info),
            info=info.decode("utf-8", "replace"),
            build_id=writer.build_id,
            created_at=self._clock(),
        )
        holder = await self._store.write(take_state_lock, lock)
        if holder is not None:
            raise StateLockedError(holder)

    async def unlock(self, writer: StateWriter, info: bytes) -> None:
        """Release the lock. Raises ConflictError("state_lock_mismatch"), InputError."""
        lock_id = _lock_id(info)

        def release(connection: Any) -> None:
            _check_holder(state_lock(connection, writer.workspace_id), lock_id)
            drop_state_lock(connection, writer.workspace_id)

        await self._store.write(release)


def _check_holder(holder: StateLock | None, lock_id: str | None) -> None:
    if (holder.lock_id if holder else None) != lock_id:
        has = f"is locked by {holder.lock_id}" if holder else "is not locked"
        raise ConflictError(
            "state_lock_mismatch", f"the state {has}, the request names {lock_id or 'no lock'}"
        )


def _superseded(
    holder: StateLock | None, kept: Mapping[str, Any], new: Mapping[str, Any]
) -> ConflictError:
    if holder is not None:
        return ConflictError("state_superseded", f"build {holder.build_id} is working on the state")
    return ConflictError(
        "state_superseded",
        f"the state that is kept (serial {kept.get('serial')}) does not precede it "
        f"(serial {new.get('serial')})",
    )


def _lock_id(info: bytes) -> str:
    if len(info) > _LOCK_INFO_MAX:
        raise InputError("lock_invalid", f"the lock is over {_LOCK_INFO_MAX} bytes")
    lock_id = _parse_object("lock_invalid", info).get("ID")
    if not isinstance(lock_id, str) or not 0 < len(lock_id) <= _LOCK_ID_MAX:
        raise InputError("lock_invalid", "the lock has no ID")
    return lock_id


def _parse_object(code: str, content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(code, f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(code, "not a JSON object")
    return value
