"""Reports an error: a line on standard error and an exit code.

Stdlib only.
"""

from __future__ import annotations

import os
import sys

from kled_wire.errors import KledError, encode_error_body
from kled_wire.text import printable

INTERRUPTED = 130


def report(error: KledError, *, as_json: bool = False) -> int:
    """Print the error on one line, in colour on a terminal; returns the exit code.

    As JSON it is what the API answers with: `{"error": {"code", "message", "hint"}}`.
    """
    if as_json:
        print(encode_error_body(error).decode(), file=sys.stderr)  # noqa: T201  # as below
        return error.exit_code
    prefix = "error:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        prefix = "\033[1;31merror:\033[0m"
    shown = printable(error.shown(), keep="\n")
    print(f"{prefix} {shown}", file=sys.stderr)  # noqa: T201  # this is the program's voice
    return error.exit_code


class ErrorFormat:
    """How the command line asked errors to be shown."""

    def __init__(self) -> None:
        self.as_json = False


def only_cause(error: BaseException) -> BaseException:
    """What `error` is about; of a group of concurrent failures a person's error before others."""
    leaves = _leaves(error)
    for kind in (KledError, KeyboardInterrupt):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0]


def silence_output() -> None:
    """After EPIPE: keep the interpreter's last flush from complaining (Python, `signal`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
