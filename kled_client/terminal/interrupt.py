"""End in order when a signal says so: connections closed, the terminal put back."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import trio

from kled_client.report import only_cause
from kled_wire.errors import KledError


def run(work: Callable[[], Awaitable[int | None]]) -> int:
    """Run `work` on Trio; returns its exit code, or 128 plus the number of the signal.

    SIGINT does not arrive as KeyboardInterrupt: raised inside an asyncio callback, that would
    end only the callback. A second signal has its ordinary, immediate effect.
    """
    return trio.run(_main, work)


async def _main(work: Callable[[], Awaitable[int | None]]) -> int:
    code: list[int] = []
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(_cancel_on_signal, nursery.cancel_scope, code)
            code.append(await work() or 0)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # An error that follows from the interrupt is expected; a bug is not.
        if not code or not isinstance(only_cause(group), KledError):
            raise
    return code[0]


async def _cancel_on_signal(
    scope: trio.CancelScope,
    code: list[int],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            code.append(128 + number)
            scope.cancel()
            return
