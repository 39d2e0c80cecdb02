"""Structured logs on stderr, as JSON or as text, with secrets masked."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from kled_wire.text import printable

# Every secret of ours begins so; passwords and keys are never handed to a log call.
_SECRET: Final = re.compile(r"(kled_(?:agent_|once_)?)[a-z2-7]{16,}|(Kled-Ticket )\S+")
_NAMES: Final = frozenset({"password", "token", "secret", "authorization"})


def set_up_logs(*, form: str, level: str) -> None:
    """Configure structlog for this process; the only global state, and only for logging."""
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    # Tracebacks without local variables, in both forms: those hold whole requests with tokens.
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    exceptions: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(transform)]
        if form == "json"
        # Rendered here and not by the renderer, so that what follows sees its text.
        else [structlog.processors.format_exc_info]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            mask_secrets,
            *([] if form == "json" else [make_printable]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, force=True)


def mask_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: replace what looks like a secret, at any depth of strings."""
    for name, value in event.items():
        if name in _NAMES:
            event[name] = "***"
        else:
            event[name] = _mask_all(value)
    return event


def _mask_all(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {name: _mask_all(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mask_all(item) for item in value]
    return value


def make_printable(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: what others have said acts on no terminal; JSON escapes it anyway."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value, keep="\n\t")
    return event


def mask(text: str) -> str:
    """Replace our tokens, codes and tickets in a text."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}***", text)
