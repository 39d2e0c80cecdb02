"""How often somebody may fail to log in: arithmetic over times, bounded memory, no clock."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

FAILURES_MAX: Final = 5
FAILURES_WINDOW: Final = timedelta(minutes=5)
# Keys remembered; the one that failed longest ago is forgotten first.
KEYS_MAX: Final = 10_000


class Throttle:
    """Counts failures per key, for instance "alice" or an address."""

    def __init__(self, *, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._failures: OrderedDict[str, list[datetime]] = OrderedDict()

    def wait_s(self, key: str, now: datetime) -> float:
        """Seconds until `key` may try again; 0 when it may now."""
        recent = self._recent(key, now)
        if len(recent) < FAILURES_MAX:
            return 0.0
        return (recent[-FAILURES_MAX] + FAILURES_WINDOW - now).total_seconds()

    def failed(self, key: str, now: datetime) -> None:
        """Count one failure."""
        self._failures[key] = [*self._recent(key, now), now][-FAILURES_MAX:]
        self._failures.move_to_end(key)
        while len(self._failures) > self._keys_max:
            self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures of `key`."""
        self._failures.pop(key, None)

    def _recent(self, key: str, now: datetime) -> list[datetime]:
        return [at for at in self._failures.get(key, ()) if now - at < FAILURES_WINDOW]
