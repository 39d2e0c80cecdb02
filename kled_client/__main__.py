"""Start of the `kled` command: `stream` loads the standard library only, all else is click's."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

from kled_client import report
from kled_wire.errors import KledError


def main() -> int:
    """Run `kled` with sys.argv; returns the exit code. Never shows a traceback for bad input."""
    arguments = sys.argv[1:]
    asked = report.ErrorFormat()
    try:
        return guard(lambda: _dispatch(arguments, asked), asked)
    finally:
        # The interpreter, as it ends, looks for garbage in all that it has imported: 50 ms after
        # asyncssh, for what goes with the process anyway.
        gc.freeze()


def guard(work: Callable[[], int], asked: report.ErrorFormat) -> int:
    """Run `work`, turning what it raises into a line on stderr and an exit code."""
    try:
        return _unwrapped(work)
    except KledError as exc:
        return report.report(exc, as_json=asked.as_json)
    except KeyboardInterrupt:
        return report.INTERRUPTED
    except BrokenPipeError:
        report.silence_output()
        return 0


def _unwrapped(work: Callable[[], int]) -> int:
    try:
        return work()
    except BaseExceptionGroup as group:
        # Trio's nurseries wrap; the cause is what the person should read.
        raise report.only_cause(group) from None


def _is_slow(argument: str) -> bool:
    """Whether `kled stream` needs the command line for this: help, or a port that listens."""
    return argument in {"--help", "-h"} or argument.partition("=")[0] == "--listen"


def _dispatch(arguments: list[str], asked: report.ErrorFormat) -> int:
    if arguments[:1] == ["stream"] and not any(map(_is_slow, arguments)):
        from kled_client.stream.command import main as stream  # noqa: PLC0415  # start-up time

        return stream(arguments[1:])
    if arguments == ["sync-server"]:
        from kled_sync.__main__ import main as serve  # noqa: PLC0415  # start-up time

        return serve()
    from kled_client.cli.main import run  # noqa: PLC0415

    return run(arguments, asked)


if __name__ == "__main__":
    sys.exit(main())
