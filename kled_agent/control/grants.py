"""The grants under which streams are served, so that an end of access ends them here.

A grant names a user, a token, and how often the user's access had ended: each dial has one,
and only the coordinator can read it. An agent says which grants it holds (after a welcome,
when asked, and with its reports); the coordinator says which of them have ended. So it does not
matter what either end missed while they were apart, or whether a stream is on the relay, on a
direct path or waiting for its client.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import trio

from kled_wire.control import messages


class Grants:
    """The cancel scopes of what is served, each under the grants that allow it."""

    def __init__(self) -> None:
        self._served: dict[trio.CancelScope, Collection[str]] = {}

    @contextmanager
    def held(self, grants: Collection[str]) -> Iterator[trio.CancelScope]:
        """Serve something for the block, which is cancelled when one of `grants` ends.

        `grants` may grow meanwhile. "" is none: an older coordinator gives no grants.
        """
        with trio.CancelScope() as scope:
            self._served[scope] = grants
            try:
                yield scope
            finally:
                del self._served[scope]

    def report(self) -> list[messages.GrantsHeld]:
        """All grants that something stands on, in as many messages as that takes."""
        found = sorted({grant for grants in self._served.values() for grant in grants if grant})
        most = messages.GRANTS_MAX
        return [
            messages.GrantsHeld(grants=tuple(found[start : start + most]))
            for start in range(0, len(found), most)
        ]

    def end(self, ended: Collection[str]) -> int:
        """End what stands on one of these grants; returns how much that was."""
        over = [scope for scope, held in self._served.items() if not set(ended).isdisjoint(held)]
        for scope in over:
            scope.cancel()
        return len(over)
