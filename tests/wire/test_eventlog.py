"""Log lines: one line each, with fields, without secrets."""

from __future__ import annotations

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.eventlog import EventLog, open_log


@pytest.fixture
def lines(request: pytest.FixtureRequest) -> tuple[EventLog, io.StringIO]:
    return _log(request.node.name)


def _log(name: str, level: int = logging.DEBUG) -> tuple[EventLog, io.StringIO]:
    out = io.StringIO()
    logger = logging.Logger(name, level)  # noqa: LOG001 - not one of the process's loggers
    logger.addHandler(logging.StreamHandler(out))
    return EventLog(logger), out


def test_a_line_is_the_event_and_its_fields(lines: tuple[EventLog, io.StringIO]) -> None:
    log, out = lines
    log.bind(stream=3).info("stream_open", kind="ssh", reason="a b", empty="")
    assert out.getvalue() == 'stream_open stream=3 kind=ssh reason="a b" empty=""\n'


def test_binding_makes_a_new_log_and_leaves_the_old_one(
    lines: tuple[EventLog, io.StringIO],
) -> None:
    log, out = lines
    log.bind(a=1).bind(a=2, b=3)
    log.warning("plain")
    assert out.getvalue() == "plain\n"


@pytest.mark.parametrize(
    "name", ["token", "ticket", "password", "api_token", "client_secret", "Authorization"]
)
def test_a_field_with_a_secret_name_prints_stars(name: str) -> None:
    log, out = _log("secrets")
    log.bind(**{name: "kled_agent_hunter2"}).error("refused", **{name: "hunter2"})
    assert "hunter2" not in out.getvalue()
    assert out.getvalue() == f"refused {name}=***\n"


@given(st.text(max_size=60))
def test_whatever_a_value_holds_the_line_stays_one_line_of_ascii_or_printable(text: str) -> None:
    log, out = _log("one line")
    log.info("event", value=text)
    assert out.getvalue().endswith("\n")
    assert out.getvalue()[:-1].isprintable()
    assert len(out.getvalue().splitlines()) == 1


def test_a_level_that_is_off_costs_no_formatting() -> None:
    class Loud:
        def __str__(self) -> str:
            raise AssertionError("formatted")

    log, out = _log("quiet", logging.INFO)
    log.debug("event", value=Loud())
    assert out.getvalue() == ""


def test_the_opened_log_writes_to_standard_error_with_time_and_level(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = open_log("kled.test", level="WARNING")
    log.info("not_this")
    log.warning("this")
    captured = capsys.readouterr().err
    assert captured.endswith("WARNING this\n")
    assert "not_this" not in captured
