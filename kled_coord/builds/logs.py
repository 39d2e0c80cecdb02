"""The log of a build: one writer appends in batches and wakes any number of followers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
import trio

from kled_coord.builds.job import Reporter
from kled_coord.builds.queue_position import tell_place
from kled_coord.builds.transitions import ENDED
from kled_coord.changes import Changes
from kled_coord.masking import Mask
from kled_coord.sources import Clock
from kled_coord.store.builds import append_log, build_by_id, last_log_seq, log_after, update_build
from kled_coord.store.engine import Store
from kled_coord.store.errors import StoreError
from kled_coord.store.records import Build, LogLine
from kled_wire.errors import KledError, NotFoundError
from kled_wire.names import BuildId
from kled_wire.text import printable

# Lines a build may be ahead of the database before it has to wait.
_AHEAD_MAX: Final = 1000
_BATCH_MAX: Final = 500
_LINE_MAX: Final = 16 * 1024
# A build may run in another process, and its appends notify nobody here.
_LOOK_AGAIN_S: Final = 5.0
log = structlog.get_logger(__name__)
LEVELS: Final = frozenset({"debug", "info", "warning", "error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildProgress:
    """How far a build is, in steps."""

    done: int
    total: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The build is over."""

    status: str
    error: str | None


class LogWriter:
    """The log of one running build. `run` writes what `line` and `progress` hand over.

    `found_outputs` and `found_timings` are the last that it was told.
    """

    def __init__(self, *, store: Store, clock: Clock, changes: Changes, build_id: BuildId) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes
        self._build_id = build_id
        self.found_outputs: Mapping[str, Any] | None = None
        self.found_timings: Sequence[Mapping[str, Any]] | None = None
        self._send, self._receive = trio.open_memory_channel[LogLine | BuildProgress](_AHEAD_MAX)

    async def line(self, level: str, text: str) -> None:
        """Append a line that is not blank; waits when the database is far behind."""
        level = level if level in LEVELS else "info"
        text = printable(text[:_LINE_MAX], keep="\t").rstrip()
        if text:
            await self._send.send(LogLine(seq=0, at=self._clock(), level=level, text=text))

    async def progress(self, done: int, total: int, message: str) -> None:
        """Replace the build's progress."""
        text = printable(message[:_LINE_MAX], keep="\t")
        await self._send.send(BuildProgress(done=done, total=total, message=text))

    def timings(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Keep how long steps took; they are written with the next progress."""
        self.found_timings = steps

    def outputs(self, values: Mapping[str, Any]) -> None:
        """Keep what the template gave out for the end of the build."""
        self.found_outputs = values

    async def notes(self, values: Sequence[Mapping[str, Any]]) -> None:
        """Keep what the template notes on its resources. Raises StoreError."""
        await self._store.write(update_build, self._build_id, {"notes": list(values) or None})

    def close(self) -> None:
        """No more is coming: `run` ends after what was handed over."""
        self._send.close()

    async def run(self) -> None:
        """Write until closed. What the database does not take is lost: the build goes on."""
        seq = await self._store.read(last_log_seq, self._build_id)
        async for first in self._receive:
            lines: list[LogLine] = []
            progress: BuildProgress | None = None
            for item in self._take(first):
                if isinstance(item, BuildProgress):
                    progress = item
                else:
                    seq += 1
                    lines.append(LogLine(seq=seq, at=item.at, level=item.level, text=item.text))
            try:
                await self._write(lines, progress)
            except StoreError as error:
                log.warning("build_log_lost", build=self._build_id, reason=error.message)

    def _take(self, first: LogLine | BuildProgress) -> list[LogLine | BuildProgress]:
        batch = [first]
        while len(batch) < _BATCH_MAX:
            try:
                batch.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return batch

    async def _write(self, lines: list[LogLine], progress: BuildProgress | None) -> None:
        if lines:
            await self._store.write(append_log, self._build_id, lines)
        if progress is not None:
            values = {
                "progress_done": progress.done,
                "progress_total": progress.total,
                "progress_message": progress.message,
                "timings": self.found_timings,
            }
            await self._store.write(update_build, self._build_id, values)
        self._changes.notify(self._build_id)


class MaskedReporter:
    """A Reporter that hides from another what is secret.

    What that is grows while the build runs: Terraform makes values that it marks sensitive. So
    `read` is asked again whenever a state has been written, which Terraform does before it says
    what went wrong.
    """

    def __init__(
        self,
        reporter: Reporter,
        *,
        next_state: Callable[[], trio.Event],
        read: Callable[[], Awaitable[Iterable[str]]],
    ) -> None:
        self._reporter = reporter
        self._next_state = next_state
        self._read = read
        self._written: trio.Event | None = None
        self._secrets: dict[str, None] = {}
        self._mask = Mask(())

    async def refresh(self) -> None:
        """Learn what is secret by now. Raises what `read` does, and will then ask it again."""
        if self._written is None or self._written.is_set():
            self._written, before = self._next_state(), self._written
            try:
                # A value that has gone from the state stays secret.
                self._secrets |= dict.fromkeys(await self._read())
                self._mask = Mask(self._secrets)
            except BaseException:
                self._written = before
                raise

    async def hide(self, text: str) -> str:
        """The text without what is secret by now, or was when that could last be read."""
        with suppress(KledError):
            await self.refresh()
        return self._mask.hide(text)

    async def line(self, level: str, text: str) -> None:
        """Append a log line."""
        await self._reporter.line(level, await self.hide(text))

    async def progress(self, done: int, total: int, message: str) -> None:
        """Say how far it is."""
        await self._reporter.progress(done, total, await self.hide(message))

    def timings(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Say how long each step took; their names are addresses of the template."""
        self._reporter.timings([{**step, "name": self._mask.hide(step["name"])} for step in steps])

    def outputs(self, values: Mapping[str, Any]) -> None:
        """Say what the template gave out."""
        hide = self._mask.hide_within
        self._reporter.outputs(
            {name: {**output, "value": hide(output["value"])} for name, output in values.items()}
        )

    async def notes(self, values: Sequence[Mapping[str, Any]]) -> None:
        """Say what the template notes on its resources. Raises as `refresh`."""
        await self.refresh()
        hide = self._mask.hide
        shown = [
            {**note, "items": [_hidden(hide, item) for item in note["items"]]} for note in values
        ]
        await self._reporter.notes(shown)


def _hidden(hide: Callable[[str], str], item: Mapping[str, Any]) -> dict[str, Any]:
    value = item["value"]
    return {**item, "key": hide(item["key"]), "value": None if value is None else hide(value)}


async def append_line(
    store: Store, clock: Clock, changes: Changes, build_id: BuildId, level: str, text: str
) -> None:
    """Add one line to the log of a build that no LogWriter is writing. Raises StoreError."""
    now = clock()

    def append(connection: Any) -> None:
        seq = last_log_seq(connection, build_id) + 1
        line = LogLine(seq=seq, at=now, level=level, text=printable(text[:_LINE_MAX], keep="\t"))
        append_log(connection, build_id, [line])

    await store.write(append)
    changes.notify(build_id)


async def follow_log(
    store: Store, changes: Changes, build_id: BuildId, *, after: int, follow: bool, workers: int
) -> AsyncIterator[LogLine | BuildProgress | End]:
    """Lines after number `after`, progress, and the end; without `follow` only what is there.

    While the build waits for one of the `workers`, its progress is its place in the queue.
    Raises NotFoundError.
    """
    seen: BuildProgress | None = None
    while True:
        changed = changes.next_change(build_id)
        build = await store.read(build_by_id, build_id)
        if build is None:
            raise NotFoundError("build_not_found", f"there is no build {build_id}")
        lines = await store.read(log_after, build_id, after, _BATCH_MAX)
        for line in lines:
            yield line
            after = line.seq
        progress = _progress(build, workers)
        if progress != seen and progress.message:
            seen = progress
            yield progress
        if len(lines) == _BATCH_MAX:
            continue
        if build.status in ENDED:
            yield End(status=build.status, error=build.error)
            return
        if not follow:
            return
        with trio.move_on_after(_LOOK_AGAIN_S):
            await changed.wait()


def _progress(build: Build, workers: int) -> BuildProgress:
    if build.queue_position is not None:
        return BuildProgress(done=0, total=0, message=tell_place(build.queue_position, workers))
    return BuildProgress(
        done=build.progress_done, total=build.progress_total, message=build.progress_message
    )
