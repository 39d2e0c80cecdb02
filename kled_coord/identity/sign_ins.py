"""Recent sign-ins, which some actions require, because a stored token may be a month old.

Kept in memory, by monotonic time: a clock that is set makes no sign-in young again, and after a
restart of the coordinator people sign in once more.
"""

from __future__ import annotations

from typing import Final

RECENT_S: Final = 600.0


class SignIns:
    """When each token was made by a password or a one-time code. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def note(self, token_id: str, now: float) -> None:
        """The token was just given to somebody who signed in."""
        self._at = {token: at for token, at in self._at.items() if now - at <= RECENT_S}
        self._at[token_id] = now

    def is_recent(self, token_id: str, now: float) -> bool:
        """Whether it was in the last RECENT_S seconds."""
        at = self._at.get(token_id)
        return at is not None and now - at <= RECENT_S
