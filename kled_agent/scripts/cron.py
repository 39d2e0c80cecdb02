"""The next time of a cron expression: crontab(5), with an optional seconds field first. Pure.

Besides the fields there are `@hourly`, `@daily` and so on, and `@every 1h30m`. Times are local,
as on the clock on the wall.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

_MONTHS: Final = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_SHORT: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY: Final = re.compile(r"@every (?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_PART: Final = re.compile(r"(\*|\?|\w+)(?:-(\w+))?(?:/(\d+))?")
# The 29th of February comes again within eight years, also around 2100.
_DAYS_AHEAD: Final = 8 * 366


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A parsed expression. A day is due if `by_day` and `by_weekday` both hold, or (`either`) one.

    With `every` it is due that long after the time before, and nothing else counts.
    """

    seconds: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    either: bool = False
    every: timedelta | None = None

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time later than `moment`; None where there is none (the 30th of February)."""
        if self.every is not None:
            return moment + self.every
        earliest = moment.replace(microsecond=0) + timedelta(seconds=1)
        day, at = earliest.date(), earliest.time()
        for _ in range(_DAYS_AHEAD):
            if self._has(day) and (found := self._time_from(at)) is not None:
                return datetime.combine(day, found, tzinfo=moment.tzinfo)
            day, at = day + timedelta(days=1), time()
        return None

    def _has(self, day: date) -> bool:
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        fits = by_day or by_weekday if self.either else by_day and by_weekday
        return day.month in self.months and fits

    def _time_from(self, at: time) -> time | None:
        for hour in _from(self.hours, at.hour):
            minute_from = at.minute if hour == at.hour else 0
            for minute in _from(self.minutes, minute_from):
                now = (hour, minute) == (at.hour, at.minute)
                for second in _from(self.seconds, at.second if now else 0):
                    return time(hour, minute, second)
        return None


def parse_cron(text: str) -> Cron:
    """Read an expression. Raises ValueError with a sentence for a person."""
    if (found := _EVERY.fullmatch(text.strip())) is not None:
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        every = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if not every:
            raise ValueError(f"cron {text!r}: say how often, as in @every 1h30m")
        return Cron(every=every)
    fields = _SHORT.get(text.strip().lower(), text).split()
    if len(fields) == 5:
        fields.insert(0, "0")
    if len(fields) != 6:
        raise ValueError(f"cron {text!r}: it has 5 fields, or 6 with seconds first")
    second, minute, hour, day, month, weekday = fields
    weekdays = {number % 7 for number in _numbers(weekday, 0, 7, _DAYS)}
    return Cron(
        seconds=tuple(sorted(_numbers(second, 0, 59))),
        minutes=tuple(sorted(_numbers(minute, 0, 59))),
        hours=tuple(sorted(_numbers(hour, 0, 23))),
        days=frozenset(_numbers(day, 1, 31)),
        months=frozenset(_numbers(month, 1, 12, ("", *_MONTHS))),
        weekdays=frozenset(weekdays),
        either=not (_is_any(day) or _is_any(weekday)),
    )


def _from(values: tuple[int, ...], least: int) -> Iterable[int]:
    return values[bisect_left(values, least) :]


def _is_any(field: str) -> bool:
    return field[:1] in {"*", "?"}


def _numbers(field: str, least: int, most: int, names: Iterable[str] = ()) -> set[int]:
    known = {name: number for number, name in enumerate(names) if name}
    found: set[int] = set()
    for part in field.lower().split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"cron field {field!r}: {part!r} is no number, range or step")
        first, last, step = match.groups()
        if first in {"*", "?"}:
            low, high = least, most
        else:
            low = _number(first, known, field)
            # `5/10` is from 5 on.
            high = _number(last, known, field) if last else most if step else low
        if not least <= low <= high <= most or step == "0":
            raise ValueError(f"cron field {field!r}: use {least} to {most}")
        found.update(range(low, high + 1, int(step or 1)))
    return found


def _number(text: str, names: dict[str, int], field: str) -> int:
    if text in names:
        return names[text]
    if not text.isascii() or not text.isdecimal():
        raise ValueError(f"cron field {field!r}: {text!r} is no number")
    return int(text)
