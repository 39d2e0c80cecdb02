"""Combines the rules of several files, as git does while it walks a tree. No I/O.

The last matching line decides, and a file in a deeper directory overrides one above. The caller
does not enter an ignored directory, so paths in it are never checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from kled_sync.ignore.pattern import Pattern, parse_line
from kled_sync.tree.paths import ROOT

RULES_FILE: Final = b".gitignore"
# As git's own limit of a file of rules would be, were there one; lines beyond it are not read.
RULES_BYTES_MAX: Final = 1024 * 1024
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Rules:
    """The rules of one file, for what is below the directory that it is in."""

    __slots__ = ("_base", "_names", "_paths", "_patterns")

    def __init__(self, text: bytes, base: bytes = ROOT) -> None:
        lines = text[:RULES_BYTES_MAX].removeprefix(_BYTE_ORDER_MARK).split(b"\n")
        found = [parse_line(line.removesuffix(b"\r")) for line in lines]
        patterns = [pattern for pattern in found if pattern is not None]
        self._base = base + b"/" if base else b""
        self._patterns = [(pattern, re.compile(pattern.regex, re.DOTALL)) for pattern in patterns]
        # Most paths match nothing: one look at all patterns together says so.
        self._names = _any_of(p for p in patterns if not p.whole)
        self._paths = _any_of(p for p in patterns if p.whole)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def verdict(self, path: bytes, name: bytes, *, is_directory: bool) -> bool | None:
        """Whether `path`, whose last part is `name`, is ignored; None where no line matches."""
        below = path[len(self._base) :]
        in_names = self._names is not None and self._names.fullmatch(name)
        in_paths = self._paths is not None and self._paths.fullmatch(below)
        if not in_names and not in_paths:
            return None
        for pattern, regex in reversed(self._patterns):
            if pattern.only_directories and not is_directory:
                continue
            if regex.fullmatch(below if pattern.whole else name):
                return not pattern.negated
        return None


def is_ignored(stack: Sequence[Rules], path: bytes, name: bytes, *, is_directory: bool) -> bool:
    """What `stack` says, the strongest rules last."""
    for rules in reversed(stack):
        verdict = rules.verdict(path, name, is_directory=is_directory)
        if verdict is not None:
            return verdict
    return False


def _any_of(patterns: Iterable[Pattern]) -> re.Pattern[bytes] | None:
    joined = b"|".join(b"(?:" + pattern.regex + b")" for pattern in patterns)
    return re.compile(joined, re.DOTALL) if joined else None
