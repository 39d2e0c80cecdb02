"""Agents that are killed and started anew: their streams end, which must be said, and at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from kled_wire.resume.retry import BACKOFF

# Meanwhile nobody can say it: a client asks again so long after the agent is back, at the latest.
TOLD_S = BACKOFF.cap_s + 5.0


class Restarts:
    """All of them so far."""

    def __init__(self) -> None:
        self._back_at: list[float | None] = []
        self._back = threading.Event()
        self._back.set()

    @property
    def count(self) -> int:
        """How many have begun."""
        return len(self._back_at)

    @contextlib.contextmanager
    def happening(self) -> Iterator[None]:
        """The agent is killed in the block; at its end there is another one, connected."""
        self._back.clear()
        self._back_at.append(None)
        yield
        self._back_at[-1] = time.monotonic()
        self._back.set()

    def wait_back(self, within_s: float) -> None:
        """Until there is an agent."""
        self._back.wait(within_s)

    def over_s(self) -> float:
        """For how long there has been the present agent; 0 for the first, and for none."""
        return 0.0 if not self._back_at else _since(self._back_at[-1])

    def check_in_time(self, seen: int) -> None:
        """Who knew of `seen` restarts is told of the next one now. Raises AssertionError."""
        late_s = _since(self._back_at[seen]) - TOLD_S
        assert late_s <= 0, f"told of the agent's end {late_s:.1f} s too late"


def _since(then: float | None) -> float:
    return 0.0 if then is None else time.monotonic() - then
