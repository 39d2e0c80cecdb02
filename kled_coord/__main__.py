"""The program `kled-coord`: prints an error as one line, never as a traceback."""

from __future__ import annotations

import sys

from kled_coord.cli import main as command
from kled_wire.errors import KledError


def main() -> None:
    """Run the command line; the exit code is the error's."""
    error: KledError | None = None
    try:
        command(prog_name="kled-coord")
    except* KledError as group:
        error = _first(group)
    if error is not None:
        print(f"kled-coord: {error.shown()}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)


def _first(group: BaseExceptionGroup[KledError]) -> KledError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


if __name__ == "__main__":
    main()
