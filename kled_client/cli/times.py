"""Times as people write and read them on a command line."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

import click

from kled_wire.errors import InputError

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class MomentType(click.ParamType[str]):
    """A time, as RFC 3339 in UTC. Raises as `moment`."""

    name = "time"

    def convert(
        self,
        value: str,
        param: click.Parameter | None,  # noqa: ARG002  # click's signature
        ctx: click.Context | None,  # noqa: ARG002
    ) -> str:
        at = datetime.fromtimestamp(moment(value, time.time()), UTC)
        return at.isoformat(timespec="seconds")


def moment(text: str, now_s: float) -> float:
    """`14:32` today, `2h` ago, or RFC 3339, in s since the epoch. Raises InputError."""
    if text[-1:] in _UNITS and text[:-1].isdecimal():
        return now_s - int(text[:-1]) * _UNITS[text[-1]]
    try:
        if len(text) <= len("23:59:59") and ":" in text:
            today = local(now_s, "%Y-%m-%d")
            return datetime.fromisoformat(f"{today}T{text.zfill(5)}").timestamp()
        return datetime.fromisoformat(text).timestamp()
    except ValueError as exc:
        raise InputError(
            "time_malformed", f"{text[:40]!r} is no time", hint="14:32, 2h, or 2026-11-28T14:32"
        ) from exc


def parse_lifetime(text: str) -> int:
    """Seconds of `90s`, `15m`, `12h` or `30d`. Raises InputError("lifetime_malformed")."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdecimal()) or len(number) > 6:
        raise InputError(
            "lifetime_malformed", f"{text!r} is not a lifetime", hint="for instance 30d or 12h"
        )
    return int(number) * _UNITS[unit]


def local(at: float, form: str) -> str:
    """Seconds since the epoch, in this machine's zone and a form of strftime(3)."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime(form)
