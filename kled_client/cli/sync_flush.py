"""Flushes a sync, and shows what that waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from kled_client.cli.context import Invocation
from kled_client.output import Meter
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
    with _shown(invocation, name, look_s):
        found = ask(invocation.env, "flush", name=name)
    return found, incomplete(name, found)


@contextmanager
def _shown(invocation: Invocation, name: str, look_s: float) -> Iterator[None]:
    """Show the state of the sync on another thread, if the block takes longer than `look_s`."""
    ended = threading.Event()

    def look() -> None:
        if ended.wait(look_s):
            return  # as most: without the imports that a bar takes
        with invocation.output.transfer(f"flushing {name}") as bar:
            said = set[str]()
            while not ended.is_set():
                with suppress(KledError, OSError):
                    _show(ask(invocation.env, "status", name=name, start=False), bar, said)
                ended.wait(look_s)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _show(status: Status, bar: Meter, said: set[str]) -> None:
    if status["state"] == "running":
        bar.update(status["bytes_done"], status["bytes_total"] or None, status["doing"])
        return
    reason = f": {status['reason']}" if status["reason"] else ""
    words = f"{status['name']} is {status['state']}{reason}"
    if words not in said:
        said.add(words)
        bar.log(words)
