"""Registered keys that the coordinator declares valid, for clients without certificates.

The coordinator sends the whole list with each welcome and each change. It counts for as long as the
link it came on is alive, and limits.KEYS_UNHEARD_S longer: an agent that cannot be told that a key
was removed lets none in. Times are monotonic seconds, given by the caller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kled_wire import limits
from kled_wire.control.messages import SetKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    id: str
    user: str
    expires_at: float


class AcceptedKeys:
    """The list of registered keys in force; empty until the first one comes."""

    def __init__(self) -> None:
        # By type and base64; more than one user may have registered the same key.
        self._keys: dict[str, list[_Key]] = {}
        self._heard_at = -math.inf

    def replace(self, message: SetKeys, now: float) -> None:
        """A new list came."""
        self._keys = {}
        for key in message.keys:
            known = _Key(id=key.id, user=key.user, expires_at=now + key.expires_in_s)
            self._keys.setdefault(" ".join(key.key.split()[:2]), []).append(known)
        self._heard_at = now

    def heard(self, now: float) -> None:
        """The link on which the list came is alive: it is still the newest."""
        self._heard_at = now

    def find(self, user: str, key: str, now: float) -> str | None:
        """The id of `key` (type and base64) when `user` may come in with it, else None."""
        if not user or now - self._heard_at >= limits.KEYS_UNHEARD_S:
            return None
        for known in self._keys.get(key, ()):
            if known.user == user and now < known.expires_at:
                return known.id
        return None
