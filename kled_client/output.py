"""The output of commands: tables, JSON for programs, notes and progress on standard error.

Names and messages are other people's: what would act on a terminal is replaced. JSON has it
escaped, so it stays exact.

Without rich until it has something to draw: its import is a tenth of a command's start-up, and a
program that runs `kled` sees none of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kled_wire.counting import counted
from kled_wire.text import printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn

    from kled_client.tables import Columns

_COLOURS = {
    "running": "green",
    "connected": "green",
    "succeeded": "green",
    "failed": "red",
    "disconnected": "yellow",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "skip": "dim",
    "starting": "cyan",
    "stopping": "cyan",
    "deleting": "cyan",
}


class Output:
    """Results go to standard output, everything about the work to standard error."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        results: Console | None = None,
        notes: Console | None = None,
    ) -> None:
        self.as_json = as_json
        self._results = results
        self._notes = notes

    @property
    def results(self) -> Console:
        """What draws on standard output."""
        if self._results is None:
            from rich.console import Console

            self._results = Console(highlight=False, soft_wrap=True)
        return self._results

    @property
    def notes(self) -> Console:
        """What draws on standard error."""
        if self._notes is None:
            from rich.console import Console

            self._notes = Console(highlight=False, stderr=True)
        return self._notes

    def rows(
        self, raw: Sequence[Any], columns: Columns, empty: str, *, spare: Sequence[str] = ()
    ) -> None:
        """A list: JSON as it came, or a table of `columns` (heading → one cell per row).

        On a terminal that is too narrow `spare` columns are left out, the first first.
        """
        if self.as_json:
            self.json(raw)
            return
        if not raw:
            self.note(empty)
            return
        from kled_client.tables import make_table

        # A pipe gets whole lines, however long: the width is a terminal's matter.
        room = self.results.width if self.results.is_terminal else None
        table = make_table(columns, spare, room, _COLOURS)
        self.results.print(table, width=table.width, crop=False)

    def markdown(self, text: str) -> None:
        """A text of somebody's in Markdown; on a terminal it is laid out."""
        from rich.markdown import Markdown  # takes longer than all the rest
        from rich.text import Text

        safe = printable(text, keep="\n\t")
        self.results.print(Markdown(safe) if self.results.is_terminal else Text(safe))

    def record(self, raw: Any, fields: Mapping[str, str | None]) -> None:
        """One thing: JSON as it came, or its fields one a line."""
        if self.as_json:
            self.json(raw)
            return
        from rich.text import Text

        width = max(map(len, fields), default=0)
        for name, value in fields.items():
            line = Text.assemble((f"{name:<{width}}  ", "bold"), printable(value or "-"))
            self.results.print(line)

    def outcome(self, raw: Any, *notes: str) -> None:
        """What was done: JSON as it came, or sentences about the work."""
        if self.as_json:
            self.json(raw)
            return
        for text in notes:
            self.note(text)

    def findings(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """Name, outcome, what was found, and below it what to do; no line is cut."""
        from rich.text import Text

        width = max((len(row[0]) for row in rows), default=0)
        for name, outcome, found, hint in rows:
            mark = (f"{outcome:<4}", _COLOURS.get(outcome, ""))
            self.results.print(
                Text.assemble((f"{name:<{width}}  ", "bold"), mark, "  ", printable(found))
            )
            if hint:
                self.results.print(Text(f"{'':<{width + 8}}→ {printable(hint)}", "dim"))

    def json(self, raw: Any) -> None:
        """Pretty JSON on standard output."""
        sys.stdout.write(printable_json(raw, indent=2) + "\n")

    def line(self, text: str) -> None:
        """One line of result."""
        sys.stdout.write(printable(text, keep="\t") + "\n")

    def json_line(self, raw: Any) -> None:
        """One object on a line of its own, at once: for results that go on."""
        self.json_lines([raw])

    def json_lines(self, rows: Iterable[Any]) -> None:
        """Each object on a line of its own, shown when all are written."""
        sys.stdout.writelines(printable_json(raw) + "\n" for raw in rows)
        sys.stdout.flush()

    def flush(self) -> None:
        """Let a reader see what was written."""
        sys.stdout.flush()

    @contextmanager
    def live(self, *, spare: Sequence[str] = ()) -> Iterator[Callable[[Columns], None]]:
        """A table on the terminal that is drawn again at each call; notes appear above it.

        `spare` as for `rows`.
        """
        from rich.live import Live

        from kled_client.tables import make_table

        with Live(console=self.results, auto_refresh=False) as live:

            def draw(columns: Columns) -> None:
                table = make_table(columns, spare, self.results.width, _COLOURS)
                live.update(table, refresh=True)

            yield draw

    def note(self, text: str) -> None:
        """A sentence about the work, on standard error."""
        self._say(printable(text, keep="\n\t"))

    @property
    def _draws(self) -> bool:
        """Whether bars are drawn on standard error."""
        return self._notes is not None or sys.stderr.isatty()

    def _say(self, text: str) -> None:
        """A line on standard error; above a bar, where there is one."""
        if not self._draws:
            sys.stderr.write(f"{text}\n")
            return
        from rich.markup import escape

        self.notes.print(escape(text), soft_wrap=True)

    def progress(self, what: str) -> AbstractContextManager[Meter]:
        """A bar on a terminal; without one, nothing but the lines given to `Meter.log`."""

        def figures() -> tuple[ProgressColumn, ...]:
            from rich.progress import TextColumn, TimeElapsedColumn

            return TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn()

        return self._meter(what, figures)

    def transfer(self, what: str) -> AbstractContextManager[Meter]:
        """The same for bytes: how many of how many, how fast, and how long it still takes."""

        def figures() -> tuple[ProgressColumn, ...]:
            from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

            return DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()

        return self._meter(what, figures)

    def copied(self, files: int, size: int, seconds: float, *, others: int = 0) -> None:
        """The sum of a transfer; `others` are changes that copy no file, as deletions."""
        if self.as_json:
            self.json({"files": files, "bytes": size, "seconds": round(seconds, 3)})
            return
        if not files and not others:
            self.note("nothing was copied: there was nothing to do")
            return
        said = f"copied {counted(files, 'file') if files else 'no files'}"
        if size:
            said += f", {file_size(size)}"
        if others:
            said += f", {counted(others, 'other change')}"
        rate = f" ({file_size(int(size / max(seconds, 0.001)))}/s)" if size else ""
        self.note(f"{said} in {seconds:.1f} s{rate}")

    @contextmanager
    def _meter(
        self, what: str, figures: Callable[[], tuple[ProgressColumn, ...]]
    ) -> Iterator[Meter]:
        if not self._draws:
            yield Meter(say=self._say)
            return
        from rich.progress import BarColumn, Progress, TextColumn

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            *figures(),
            console=self.notes,
            transient=True,
            disable=not self.notes.is_terminal,
        )
        with bar:
            task = bar.add_task(what, total=None)

            def update(done: float, total: float | None, message: str | None) -> None:
                text = f"{what}: {message}" if message else what
                bar.update(task, completed=done, total=total, description=printable(text))

            @contextmanager
            def aside() -> Iterator[None]:
                bar.stop()
                try:
                    yield
                finally:
                    bar.start()

            yield Meter(say=self._say, draw=update, aside=aside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A running bar, or none; made by `Output.progress`."""

    say: Callable[[str], None]
    draw: Callable[[float, float | None, str | None], None] | None = None
    # Without the bar, which would be drawn over a question.
    aside: Callable[[], AbstractContextManager[None]] = nullcontext

    def update(self, done: float, total: float | None, message: str | None = None) -> None:
        """Move to `done` of `total` (None: unknown), in any unit."""
        if self.draw is not None:
            self.draw(done, total, message)

    def log(self, text: str) -> None:
        """A line above the bar."""
        self.say(printable(text, keep="\t"))


def ago(moment: str | None, never: str = "-") -> str:
    """An RFC 3339 time as a person says it: `3 min ago`, `in 9 d`; `never` where there is none."""
    if not moment:
        return never
    then = _parse(moment)
    if then is None:
        return moment
    seconds = int((datetime.now(UTC) - then).total_seconds())
    length = _length(abs(seconds))
    return f"in {length}" if seconds < 0 else f"{length} ago"


def span(since: str, until: str) -> str:
    """The time between two RFC 3339 times, as `duration` says it."""
    begun, ended = _parse(since), _parse(until)
    return "-" if begun is None or ended is None else duration((ended - begun).total_seconds())


def duration(seconds: float) -> str:
    """A length of time as a person reads it: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def file_size(size: int) -> str:
    """A size in bytes as a person reads it."""
    from rich.filesize import decimal

    return decimal(size)


def one_line(text: str | None, most: int | None = None) -> str:
    """A text in one line, without what would act on a terminal; its first `most` characters."""
    return printable(" ".join((text or "").split()))[:most]


def is_past(moment: str | None) -> bool:
    """Whether an RFC 3339 time is over; None is never over."""
    then = _parse(moment) if moment else None
    return then is not None and then <= datetime.now(UTC)


def _length(seconds: int) -> str:
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds // unit} {name}"
    return f"{seconds // 86400} d"


def _parse(moment: str) -> datetime | None:
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return then if then.tzinfo else then.replace(tzinfo=UTC)
