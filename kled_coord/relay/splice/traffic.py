"""The bytes that a stream has moved. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Bytes so far in each direction; `on_count` is told each addition (to agent, to client)."""

    on_count: Callable[[int, int], None]
    to_agent: int = 0
    to_client: int = 0

    def count(self, *, to_agent: int = 0, to_client: int = 0) -> None:
        """Add to the totals."""
        self.to_agent += to_agent
        self.to_client += to_client
        self.on_count(to_agent, to_client)
