"""Limits per user and workspace: number of streams and bytes per second. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b

from kled_coord.relay.splice.bandwidth import Share
from kled_wire.errors import LimitError


class StreamQuotas:
    """Counts open streams against the two limits."""

    def __init__(self, *, per_user: int, per_workspace: int) -> None:
        self._per_user = per_user
        self._per_workspace = per_workspace
        self._users: Counter[str] = Counter()
        self._workspaces: Counter[str] = Counter()

    @contextmanager
    def held(self, *, user_id: str, workspace_id: str) -> Iterator[None]:
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


class Bandwidth:
    """The buckets of a stream: its user's and its workspace's, where these are limited."""

    def __init__(self, *, per_user: int = 0, per_workspace: int = 0) -> None:
        """Bytes a second in each direction; 0 for no limit."""
        self._per_user = per_user
        self._per_workspace = per_workspace

    def shares(self, *, user_id: str, workspace_id: str) -> tuple[Share, ...]:
        """The shares of one stream; none where nothing is limited."""
        asked = ((f"user {user_id}", self._per_user), (f"ws {workspace_id}", self._per_workspace))
        return tuple(Share(_number(name), rate) for name, rate in asked if rate)


def _number(name: str) -> int:
    """The same number for the same name everywhere, so that nobody has to keep a table of them."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class RelayQuotas:
    """The quotas of a stream: its number and its bandwidth."""

    streams: StreamQuotas
    bandwidth: Bandwidth
