"""Rate limits: arithmetic over times, in bounded memory, without a clock."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

# Keys remembered; the one that was counted longest ago is forgotten first.
KEYS_MAX: Final = 10_000


class Throttle:
    """Allows `most` within any `window_s`, for each key. Times are monotonic seconds."""

    def __init__(self, most: int, window_s: float, *, keys_max: int = KEYS_MAX) -> None:
        self._most = most
        self._window_s = window_s
        self._keys_max = keys_max
        self._counted: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, key: str, now: float) -> float:
        """Seconds until one more is allowed; 0 when it is now."""
        recent = self._recent(key, now)
        return 0.0 if len(recent) < self._most else recent[-self._most] + self._window_s - now

    def count(self, key: str, now: float) -> None:
        """Count one."""
        self._counted[key] = [*self._recent(key, now), now][-self._most :]
        self._counted.move_to_end(key)
        while len(self._counted) > self._keys_max:
            self._counted.popitem(last=False)

    def allow(self, key: str, now: float) -> bool:
        """Count one if it is allowed."""
        if self.wait_s(key, now) > 0:
            return False
        self.count(key, now)
        return True

    def give_back(self, key: str) -> None:
        """Count one less: the newest."""
        counted = self._counted.pop(key, [])
        if len(counted) > 1:
            self._counted[key] = counted[:-1]

    def _recent(self, key: str, now: float) -> list[float]:
        return [at for at in self._counted.get(key, ()) if now - at < self._window_s]
