"""Jittered retry delays as arithmetic, and when what is to be there for ever is dialled next.

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


class Pace(NamedTuple):
    """How often one may dial, whatever happens: `burst` times, and once more every `every_s`.

    In no stretch of T seconds are there more than `burst + T / every_s` dials.
    """

    burst: int
    every_s: float


class Redials:
    """The dials of one link: how long to wait before the next. The caller waits, then dials.

    Who was let in by the other end knows that it is there and wants us, so what ended the link was
    on the way: the backoff begins anew, however soon that was. The wait is then nothing but jitter,
    up to `spread_s`, over which all come back who lost the same thing at the same moment.

    That alone would have an end that lets in and dies, again and again, hammered by all it ever let
    in. So `pace` bounds the dials of each, and who has used it up waits one to two times what is
    missing, so that these too come spread.
    """

    __slots__ = ("_at", "_backoff", "_credit", "_pace", "_random", "_spread_s", "failures")

    def __init__(
        self, backoff: Backoff, pace: Pace, random: Callable[[], float], *, spread_s: float
    ) -> None:
        self._backoff = backoff
        self._pace = pace
        self._random = random
        self._spread_s = spread_s
        # The dials that `pace` still allowed when the last dial was decided on. The very first dial
        # is free.
        self._credit = pace.burst - 1.0
        self._at: float | None = None
        # Dials in a row that were not let in, and the loss before them.
        self.failures = 0

    def lost(self, now: float, *, away_s: float = 0.0) -> float:
        """Seconds to wait after the end of a link that had been let in.

        `away_s` is what the other end has asked for; the jitter comes on top.
        """
        self.failures = 1
        return self._paced(now, away_s + self._spread_s * self._random())

    def failed(self, now: float, *, away_s: float = 0.0) -> float:
        """Seconds to wait after a dial that was not let in."""
        self.failures += 1
        return self._paced(now, away_s + self._backoff.delay(self.failures, self._random))

    def begin_anew(self) -> None:
        """What failed before is forgotten: meanwhile there was another way."""
        self.failures = 0

    def _paced(self, now: float, wait_s: float) -> float:
        burst, every_s = self._pace
        elapsed = 0.0 if self._at is None else now - self._at
        # A dial before the end of the wait, for a good reason, costs no more than one dial.
        credit = max(0.0, min(burst, self._credit + elapsed / every_s))
        missing_s = (1.0 - credit) * every_s
        if missing_s > wait_s:
            wait_s = missing_s * (1.0 + self._random())
        self._at = now + wait_s
        self._credit = min(burst, credit + wait_s / every_s) - 1.0
        return wait_s
