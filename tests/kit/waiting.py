"""Wait for what another program does. Only for programs: inside one, wait for its events."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(what: str, condition: Callable[[], T], *, within_s: float = 20.0) -> T:
    """Ask until the answer is true; returns it. Fails with `what` after `within_s`."""
    deadline = time.monotonic() + within_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what}; last answer {answer!r}")
        time.sleep(0.05)
    return answer
