"""Detects expired leases: those whose counter has not changed for a time. No clock, no I/O.

A lease is a number in the database that its worker counts up. Whoever looks measures by their own
monotonic clock how long it stays the same: a time in the database would be compared with wall
clocks, which step, and differ between machines.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final

from kled_wire.names import BuildId

LEASE_S: Final = 30.0
# Time between two looks counts for so much at most: who stood still has seen nothing.
LOOK_MAX_S: Final = 15.0


@dataclass(slots=True, kw_only=True)
class _Seen:
    lease: Hashable
    unchanged_s: float = 0.0


class LeaseWatch:
    """Finds expired leases, from the lists of all that it is shown. In monotonic seconds."""

    def __init__(self) -> None:
        self._seen: dict[BuildId, _Seen] = {}
        self._looked_at: float | None = None

    def expired(self, leases: Mapping[BuildId, Hashable], now: float) -> list[BuildId]:
        """The leases that have been the same for LEASE_S."""
        passed_s = 0.0 if self._looked_at is None else min(now - self._looked_at, LOOK_MAX_S)
        self._looked_at = now
        before, self._seen = self._seen, {}
        for build_id, lease in leases.items():
            seen = before.get(build_id)
            if seen is None or seen.lease != lease:
                self._seen[build_id] = _Seen(lease=lease)
            else:
                seen.unchanged_s += passed_s
                self._seen[build_id] = seen
        return [build_id for build_id, seen in self._seen.items() if seen.unchanged_s >= LEASE_S]
