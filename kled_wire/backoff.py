"""Jittered retry delays as arithmetic.

Full jitter: uniform between 0 and a cap that doubles with each failure. A thousand agents that
lose their coordinator together then come back spread over the interval, not in step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kled_wire import limits


class Backoff(NamedTuple):
    """How long to wait before attempt number n. Seconds.

    A NamedTuple because `kled stream` starts with it: dataclasses take 10 ms to import.
    """

    first_s: float = limits.REDIAL_FIRST_S
    cap_s: float = limits.REDIAL_CAP_S

    def ceiling(self, failures: int) -> float:
        """The longest wait after `failures` failures in a row (0 for none)."""
        if failures <= 0:
            return 0.0
        return float(min(self.cap_s, self.first_s * 2 ** min(failures - 1, 32)))

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """A wait drawn with `random`, a source of floats in [0, 1)."""
        return self.ceiling(failures) * random()
