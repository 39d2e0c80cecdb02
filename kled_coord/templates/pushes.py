"""Limits on uploads that are checked or wait, because each is held in memory. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kled_wire.errors import LimitError

PER_USER: Final = 4
OVERALL: Final = 16
_AGAIN_S: Final = 30.0


class Pushes:
    """Counts uploads that are checked or wait, for each user and in total."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @contextmanager
    def admitted(self, user_id: str) -> Iterator[None]:
        """Count one for the block. Raises LimitError("template_pushes_limit")."""
        if self._of[user_id] >= PER_USER:
            raise _too_many(f"{PER_USER} of your templates are being checked or wait for that")
        if self._of.total() >= OVERALL:
            raise _too_many(f"{OVERALL} templates are being checked or wait for that")
        self._of[user_id] += 1
        try:
            yield
        finally:
            self._of[user_id] -= 1
            if not self._of[user_id]:
                del self._of[user_id]


def _too_many(what: str) -> LimitError:
    return LimitError(
        "template_pushes_limit",
        f"{what}, the limit; nothing was changed",
        hint=f"push again in {_AGAIN_S:.0f} s",
        retry_after_s=_AGAIN_S,
    )
