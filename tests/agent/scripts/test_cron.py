"""When cron expressions are due, against a plain search minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kled_agent.scripts.cron import parse_cron
from tests.kit.examples import examples


def on(*fields: int) -> datetime:
    year, month, day, hour, minute, second, *_ = *fields, 0, 0, 0
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


NOON = on(2026, 11, 28, 12, 0, 0)  # a Saturday


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("0 0 22 * * *", on(2026, 11, 28, 22)),
        ("0 22 * * *", on(2026, 11, 28, 22)),
        ("*/15 * * * *", on(2026, 11, 28, 12, 15)),
        ("*/20 * * * * *", on(2026, 11, 28, 12, 0, 20)),
        ("5/10 * * * *", on(2026, 11, 28, 12, 5)),
        ("0 9 * * mon-fri", on(2026, 11, 30, 9)),
        ("0 9 * * 7", on(2026, 11, 29, 9)),
        ("0 0 29 feb *", on(2028, 2, 29)),
        ("0 0 13 * fri", on(2026, 12, 4)),
        ("0 0 ? * ?", on(2026, 11, 29)),
        ("1,2 3-4 1 1 *", on(2027, 1, 1, 3, 1)),
        ("@daily", on(2026, 11, 29)),
        ("@weekly", on(2026, 11, 29)),
        ("@every 1h30m", on(2026, 11, 28, 13, 30)),
        ("0 0 30 2 *", None),
    ],
)
def test_the_next_time(text: str, then: datetime | None) -> None:
    assert parse_cron(text).next_after(NOON) == then


MOMENTS = st.datetimes(on(2024, 1, 1).replace(tzinfo=None), on(2027, 1, 1).replace(tzinfo=None))
FIELDS = st.sampled_from(["*", "0", "*/7", "1-4", "2,5", "3/2"])


@settings(max_examples=examples(60), deadline=None)
@given(FIELDS, FIELDS, FIELDS, MOMENTS)
def test_no_time_is_left_out(minute: str, hour: str, weekday: str, moment: datetime) -> None:
    cron = parse_cron(f"{minute} {hour} * * {weekday}")
    minutes, hours, days = (set(x) for x in (cron.minutes, cron.hours, cron.weekdays))
    at = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while not (at.minute in minutes and at.hour in hours and at.isoweekday() % 7 in days):
        at += timedelta(minutes=1)
    assert cron.next_after(moment) == at


@pytest.mark.parametrize(
    "text", ["", "*", "* * *", "60 * * * *", "* 24 * * *",
             "5-1 * * * *", "*/0 * * * *", "x * * * *",
             "@every", "@every 0s", "@reboot", "* * 0 * *", "1-2-3 * * * *", "٣ * * * *"],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cron"):
        parse_cron(text)
