"""The process that unpacks one upload from standard input to standard output, within limits.

The answer is a line of JSON, `{"files": […], …}` and after it the tar, or `{"error": {…}}`.
"""

from __future__ import annotations

import json
import resource
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from kled_coord.templates.archive import check_archive, invalid
from kled_wire.errors import InputError

CPU_S: Final = 10
# The upload, what it unpacks to, and the copy, several times over.
_MEMORY_BYTES: Final = 1024**3


def main() -> None:
    """Check the archive on standard input."""
    for limit, value in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        # Not every system has each of them; the deadline holds everywhere.
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))
    try:
        archive = check_archive(sys.stdin.buffer.read())
    except InputError as error:
        _say({"error": {"message": error.message, "hint": error.hint}})
    except MemoryError:
        _say({"error": {"message": invalid("it takes too much memory").message, "hint": None}})
    else:
        variables = [asdict(variable) for variable in archive.variables]
        _say(
            {
                "files": archive.files,
                "variables": variables,
                "backends": archive.backends,
                "readme": archive.readme,
            }
        )
        sys.stdout.buffer.write(archive.tar)


def _say(answer: object) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
