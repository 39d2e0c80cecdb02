"""Limits on the workspaces and queued builds of a user. Pure.

Asked inside the transaction that adds one, while the user's row is held (store/standing.py): two
requests at once do not both get the last place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kled_coord.store.records import Usage, User
from kled_wire.counting import counted
from kled_wire.errors import ConflictError, LimitError

_AGAIN_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UserQuotas:
    """What every user may have who has no limit of their own; 0 is no limit."""

    workspaces: int = 0
    waiting_builds: int = 0

    def check_workspace(self, usage: Usage) -> None:
        """Raise ConflictError("workspace_limit") where one more is too many."""
        limit = _limit(usage.user.max_workspaces, self.workspaces)
        if limit and usage.workspaces >= limit:
            raise ConflictError(
                "workspace_limit",
                f"{usage.user.name} has {counted(usage.workspaces, 'workspace')}, and may have "
                f"{limit}",
                hint=f"delete one: kled delete NAME. {_ask(usage.user, '--max-workspaces')}",
            )

    def check_build(self, usage: Usage) -> None:
        """Raise LimitError("waiting_build_limit") where one more that waits is too many."""
        limit = _limit(usage.user.max_waiting_builds, self.waiting_builds)
        if limit and usage.waiting_builds >= limit:
            raise LimitError(
                "waiting_build_limit",
                f"{counted(usage.waiting_builds, 'build')} of {usage.user.name} "
                f"wait{'s' if usage.waiting_builds == 1 else ''} already, and {limit} may",
                hint="try again when one has begun, or kled cancel NAME. "
                f"{_ask(usage.user, '--max-waiting-builds')}",
                retry_after_s=_AGAIN_S,
            )


def _limit(own: int | None, setting: int) -> int:
    return setting if own is None else own


def _ask(user: User, option: str) -> str:
    return f"An administrator may allow more: kled user update {user.name} {option} N"
