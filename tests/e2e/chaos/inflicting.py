"""Carries a plan of troubles out, each at its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack

from tests.e2e.chaos.plan import Kind, Trouble
from tests.e2e.chaos.report import Happened

Inflict = Callable[[Trouble], AbstractContextManager[None]]


def inflict_all(
    inflict: Inflict,
    plan: Sequence[Trouble],
    kinds: Mapping[str, Kind],
    say: Callable[[str], None],
    enough: threading.Event | None = None,
) -> list[Happened]:
    """All of the plan, or as much as there is time for until `enough`; what has begun is undone.

    `say` is told of each. An error of the driver's own comes out of here.
    """
    began = time.monotonic()
    pause = enough or threading.Event()
    happened: list[Happened] = []
    failed: list[Exception] = []
    # The plan keeps things apart, but starting a program takes as long as it takes.
    locks = {need: threading.Lock() for kind in kinds.values() for need in kind.needs}

    def one(trouble: Trouble) -> None:
        with ExitStack() as stack:
            for need in sorted(kinds[trouble.kind].needs):
                stack.enter_context(locks[need])
            began_s = time.monotonic() - began
            say(f"{began_s:6.1f} s  {trouble.kind} for {trouble.for_s:.1f} s")
            try:
                with inflict(trouble):
                    pause.wait(trouble.for_s)
            except Exception as exc:  # noqa: BLE001 - raised below, where all is undone
                failed.append(exc)
                pause.set()
            ended_s = time.monotonic() - began
            happened.append(Happened(kind=trouble.kind, began_s=began_s, ended_s=ended_s))

    threads = []
    for trouble in plan:
        if pause.wait(max(0.0, trouble.at_s - (time.monotonic() - began))):
            break
        threads.append(threading.Thread(target=one, args=(trouble,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sorted(happened, key=lambda each: each.began_s)
