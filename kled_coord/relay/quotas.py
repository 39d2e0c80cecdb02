"""How many streams each user and each workspace may have open. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from kled_wire.errors import LimitError


class StreamQuotas:
    """Counts open streams against the two limits."""

    def __init__(self, *, per_user: int, per_workspace: int) -> None:
        self._per_user = per_user
        self._per_workspace = per_workspace
        self._users: Counter[str] = Counter()
        self._workspaces: Counter[str] = Counter()

    @contextmanager
    def taken(self, *, user_id: str, workspace_id: str) -> Iterator[None]:
        """Hold one place of each for the block. Raises LimitError("stream_limit")."""
        if self._users[user_id] >= self._per_user:
            raise LimitError("stream_limit", f"you have {self._per_user} streams open, the limit")
        if self._workspaces[workspace_id] >= self._per_workspace:
            raise LimitError(
                "stream_limit", f"the workspace has {self._per_workspace} streams open, the limit"
            )
        self._users[user_id] += 1
        self._workspaces[workspace_id] += 1
        try:
            yield
        finally:
            self._leave(self._users, user_id)
            self._leave(self._workspaces, workspace_id)

    @staticmethod
    def _leave(counter: Counter[str], key: str) -> None:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
