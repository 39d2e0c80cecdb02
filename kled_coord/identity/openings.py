"""The open streams and followed logs of users in this process, which end with their access."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from kled_coord.policy.decide import Caller
from kled_wire.names import UserId


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opening:
    """Something open for `caller`; cancelled when that is over."""

    caller: Caller
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def ended(self) -> bool:
        """Whether it was ended because the caller's access was."""
        return self.scope.cancel_called


class Openings:
    """All openings. `endings` counts how often some access was ended."""

    def __init__(self) -> None:
        self.endings = 0
        self._open: set[Opening] = set()

    @contextmanager
    def held(self, caller: Caller) -> Iterator[Opening]:
        """Keep something open for the block, which is cancelled when the access ends."""
        opening = Opening(caller=caller)
        self._open.add(opening)
        try:
            with opening.scope:
                yield opening
        finally:
            self._open.discard(opening)

    def end(self, user_id: UserId, token_ids: Collection[str] | None = None) -> None:
        """End what a user has open, all of it or what was opened with some of their tokens."""
        self.endings += 1
        for opening in self._open:
            caller = opening.caller
            if caller.user_id == user_id and (token_ids is None or caller.token_id in token_ids):
                opening.scope.cancel()
