"""Watch a build to its end: the bar, the log, and what to say when it failed."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import trio

from kled_client.api.client import Api
from kled_client.api.models import Build
from kled_client.output import Meter, Output
from kled_client.report import only_cause
from kled_wire.errors import KledError, UnavailableError

# Cut log streams in a row, without one new line between them, before giving up.
_RETRIES = 5
_RETRY_S = 1.0
# A connection that lasted so long was cut because the build was silent (proxies: 60 s), and works.
_QUIET_S = 45.0


async def follow_build(api: Api, build: Build, output: Output, *, what: str, verbose: bool) -> None:
    """Return when the build succeeded. A cut connection is taken up where it was.

    Only warnings and errors are shown beside the bar, unless `verbose`. Raises
    KledError("build_failed") and what the API says.
    """
    watcher = _Watcher(everything=verbose)
    says = "the build goes on without us; kled show tells how it ends, kled cancel stops it"
    async with saying_what_goes_on(output, says):
        with output.progress(what) as meter:
            await read_log(api, build["id"], lambda item: watcher.take(item, meter))
    status, error = watcher.end
    if status == "succeeded":
        return
    code = "build_canceled" if status == "canceled" else "build_failed"
    raise KledError(
        code,
        f"{what}: {error or f'the build ended as {status}'}",
        hint=None if watcher.everything else "add --verbose to see Terraform's own words",
    )


@asynccontextmanager
async def saying_what_goes_on(output: Output, text: str) -> AsyncIterator[None]:
    """Tell whom Ctrl-C takes away from a wait that only the wait has ended.

    The wait is cancelled, and KeyboardInterrupt raised behind it: raised in the middle of a
    connection's making it would come in a group, or be taken for the connection's error.
    """
    interrupted = trio.Event()

    async def cancel_when_interrupted(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            task_status.started()
            await anext(signals)
            interrupted.set()
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(cancel_when_interrupted)
            yield
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if not interrupted.is_set():
            raise only_cause(group) from None
    if interrupted.is_set():
        output.note(text)
        raise KeyboardInterrupt


class _Watcher:
    """How far the log was read and how the build ended."""

    def __init__(self, *, everything: bool) -> None:
        self.everything = everything
        self.end: tuple[str, str | None] = ("", None)

    def take(self, item: dict[str, Any], meter: Meter) -> None:
        is_shown = self.everything or item.get("level") in {"warn", "warning", "error"}
        if "seq" in item and is_shown:
            meter.log(str(item.get("text", "")))
        if isinstance(item.get("progress"), dict):
            progress = item["progress"]
            done, total = float(progress.get("done") or 0), progress.get("total")
            meter.update(done, float(total) if total else None, progress.get("message"))
        if isinstance(item.get("end"), dict):
            end = item["end"]
            self.end = (str(end.get("status")), end.get("error"))


async def read_log(api: Api, build_id: str, take: Callable[[dict[str, Any]], None]) -> None:
    """Give every object of a build's log to `take`, the last is its `end`.

    A cut connection is taken up where it was. Raises UnavailableError when that does not help.
    """
    failures, seen = 0, 0
    while True:
        before, began = seen, trio.current_time()
        try:
            async with aclosing(api.build_log(build_id, after=seen)) as items:
                async for item in items:
                    seen = int(item.get("seq", seen))
                    take(item)
                    if isinstance(item.get("end"), dict):
                        return
        except UnavailableError:
            if failures >= _RETRIES and trio.current_time() - began < _QUIET_S:
                raise
        works = seen != before or trio.current_time() - began >= _QUIET_S
        failures = 0 if works else failures + 1
        if failures > _RETRIES:
            raise UnavailableError(
                "build_log_cut",
                "the log of the build ended without a result",
                hint="kled show WORKSPACE shows the result",
            )
        await trio.sleep(_RETRY_S)
