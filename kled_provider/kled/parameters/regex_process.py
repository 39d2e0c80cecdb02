"""Matches a value against a template's regular expression, in a process of its own.

Python's `re` may take for ever on some expressions, and who wrote this one is not known: what takes
longer than RE2 ever would is ended and counts as no match.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

import trio

from kled_provider.kled.parameters.go_regex import python_pattern

LIMIT_S: Final = 2.0
_PROGRAM: Final = (
    "import json, re, sys\n"
    "pattern, value = json.load(sys.stdin)\n"
    "sys.exit(0 if re.search(pattern, value) else 1)\n"
)


async def is_match(pattern: str, value: str) -> bool:
    """Whether the expression is found anywhere in the value; its end is bounded by LIMIT_S."""
    with trio.move_on_after(LIMIT_S):
        done = await trio.run_process(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            stdin=json.dumps([python_pattern(pattern), value]).encode(),
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode == 0
    return False
