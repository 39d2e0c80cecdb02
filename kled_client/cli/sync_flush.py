"""Flushes a sync, and shows what that waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from kled_client.cli.context import Invocation
from kled_client.sync.barrier import incomplete
from kled_client.sync.control import ask
from kled_wire.errors import KledError

# Between looks at a sync; most flushes have ended before the first.
_LOOK_S: Final = 1.0

Status = Mapping[str, Any]


def flush_sync(
    invocation: Invocation, name: str, *, look_s: float = _LOOK_S
) -> tuple[Status, KledError | None]:
    """Its state afterwards, and what its two sides still differ in. Blocks. Raises KledError."""
    said = set[str]()
    with invocation.output.transfer(f"flushing {name}") as bar:

        def show(status: Status) -> None:
            if status["state"] == "running":
                bar.update(status["bytes_done"], status["bytes_total"] or None, status["doing"])
                return
            words = f"{name} is {status['state']}: {status['reason'] or 'not connected yet'}"
            if words not in said:
                said.add(words)
                bar.log(words)

        with _watched(invocation.env, name, show, look_s):
            found = ask(invocation.env, "flush", name=name)
    return found, incomplete(name, found)


@contextmanager
def _watched(
    env: Mapping[str, str], name: str, show: Callable[[Status], None], look_s: float
) -> Iterator[None]:
    """Call `show` with the state of the sync now and then, on another thread."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(look_s):
            with suppress(KledError, OSError):
                show(ask(env, "status", name=name, start=False))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
