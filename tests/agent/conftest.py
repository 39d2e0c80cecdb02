from __future__ import annotations

import logging

import pytest

from kled_agent.machine.users import LocalUser, load_user
from kled_wire.eventlog import EventLog


class Records(logging.Handler):
    """Keeps the text of what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def having(self, event: str) -> list[str]:
        return [line for line in self.lines if line.startswith(event)]


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def log(records: Records) -> EventLog:
    logger = logging.Logger("test", logging.DEBUG)  # noqa: LOG001 - not one of the process's
    logger.addHandler(records)
    return EventLog(logger)


@pytest.fixture
def user() -> LocalUser:
    return load_user(None, shell="/bin/sh")


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
