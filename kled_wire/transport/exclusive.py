"""Guards against two tasks that use one stream in a conflicting way."""

from __future__ import annotations

import operator

import trio


class Exclusive:
    """A block that one task is in at a time: a second one has made a mistake, and is told."""

    def __init__(self, what: str) -> None:
        """`what` the other task does: "another task is WHAT"."""
        self._what = what
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise trio.BusyResourceError(f"another task is {self._what}")
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False


def check_size(max_bytes: int | None) -> None:
    """Raises ValueError and TypeError for a size that `receive_some` cannot be asked for."""
    if max_bytes is not None and operator.index(max_bytes) < 1:
        raise ValueError("max_bytes must be at least 1")
