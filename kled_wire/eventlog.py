"""Log lines as events with fields, over the standard library's logging.

For the agent and the client, where structlog's 7 MB would be a fifth of the resident memory. A
line is logfmt on one line: `event key=value …`. Fields are bound once per connection or task.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from dataclasses import dataclass, field
from typing import Final

_SECRET: Final = ("token", "ticket", "password", "secret", "authorization", "private")


@dataclass(frozen=True, slots=True)
class EventLog:
    """An immutable logger with bound fields. Values under a secret-looking name print as ***."""

    logger: logging.Logger
    fields: dict[str, object] = field(default_factory=dict)

    def bind(self, **fields: object) -> EventLog:
        """A log whose lines carry `fields` as well."""
        return EventLog(self.logger, {**self.fields, **fields})

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._log(logging.ERROR, event, fields)

    def crash(self, event: str, error: BaseException, **fields: object) -> None:
        """An error nobody expected: what it was and where, still on one line."""
        trace = "".join(traceback.format_exception(error))
        self._log(logging.ERROR, event, {**fields, "error": repr(error), "traceback": trace})

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self.logger.isEnabledFor(level):
            merged = {**self.fields, **fields}
            self.logger.log(level, "%s%s", event, "".join(f" {_pair(*f)}" for f in merged.items()))


def open_log(name: str, *, level: str = "info") -> EventLog:
    """A log to standard error. `level` is a name of the logging module, in any case."""
    logger = logging.getLogger(name)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    return EventLog(logger)


def _pair(name: str, value: object) -> str:
    if any(word in name.lower() for word in _SECRET):
        return f"{name}=***"
    text = str(value)
    plain = text and not any(c.isspace() or c in '"=\\' for c in text) and text.isprintable()
    return f"{name}={text if plain else json.dumps(text)}"
