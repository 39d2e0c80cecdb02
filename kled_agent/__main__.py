"""`kled-agent`: sets the exit code, and prints an error as one line, never as a traceback."""

from __future__ import annotations

import sys

from kled_agent import coder
from kled_agent.cli import run
from kled_wire.errors import KledError


def main() -> None:
    """The entry point. Exits with 0, or the KledError's exit code."""
    if sys.argv[1:2] == ["coder"]:
        sys.exit(coder.main(sys.argv[2], sys.argv[3:]))
    try:
        run(sys.argv[1:])
    except KledError as exc:
        print(f"kled-agent: {exc.shown()}", file=sys.stderr)  # noqa: T201 - the person's line
        sys.exit(exc.exit_code)


if __name__ == "__main__":
    main()
