"""Translates one line of a .gitignore to a regular expression, exactly as git reads it. No I/O.

gitignore(5), and where that is silent git's own wildmatch.c and dir.c; `git check-ignore` is the
oracle of the tests.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_NEVER: Final = rb"(?!)"
_ANY_IN_PART: Final = rb"[^/]*"
_SPECIAL: Final = re.compile(rb"[*?\[\\]")
_CLASSES: Final = {
    b"alnum": rb"a-zA-Z0-9",
    b"alpha": rb"a-zA-Z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"\x21-\x7e",
    b"lower": rb"a-z",
    b"print": rb"\x20-\x7e",
    b"punct": rb"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    b"space": rb" \t\n\v\f\r",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}


class Pattern(NamedTuple):
    """What a line means. `whole` patterns are matched with the path, others with the name alone."""

    regex: bytes
    negated: bool
    only_directories: bool
    whole: bool


def parse_line(line: bytes) -> Pattern | None:
    """The pattern of a line without its end; None for comments and empty lines."""
    line = _without_trailing_spaces(line)
    if line.startswith(b"#"):
        return None
    negated = line.startswith(b"!")
    if negated:
        line = line[1:]
    only_directories = line.endswith(b"/")
    if only_directories:
        line = line[:-1]
    whole = b"/" in line
    if whole and line.startswith(b"/"):
        line = line[1:]
    if not line:
        return None
    return Pattern(_translate(line, whole=whole), negated, only_directories, whole)


def _without_trailing_spaces(line: bytes) -> bytes:
    """As git's trim_trailing_spaces: one behind a backslash stays, and what is before it."""
    end = 0
    at = 0
    while at < len(line):
        if line[at : at + 1] == b"\\":
            at += 2
            end = min(at, len(line))
            continue
        at += 1
        if line[at - 1 : at] != b" ":
            end = at
    return line[:end]


def _translate(glob: bytes, *, whole: bool) -> bytes:
    """wildmatch(glob) as an expression for `fullmatch`."""
    out: list[bytes] = []
    at = 0
    while at < len(glob):
        char = glob[at : at + 1]
        if char == b"*":
            text, at = _stars(glob, at, whole=whole)
        elif char == b"?":
            text, at = rb"[^/]", at + 1
        elif char == b"[":
            text, at = _class(glob, at)
        elif char == b"\\":
            text, at = (re.escape(glob[at + 1 : at + 2]) or _NEVER), at + 2
        else:
            text, at = re.escape(char), at + 1
        out.append(text)
    return b"".join(out)


def _stars(glob: bytes, at: int, *, whole: bool) -> tuple[bytes, int]:
    """The stars at `at`: two between slashes, or a slash and an end, go over directories.

    What comes before a pattern's first special character git compares by itself (dir.c,
    match_pathname), so that stars behind it begin the pattern.
    """
    end = at
    while glob[end : end + 1] == b"*":
        end += 1
    opens = glob[at - 1 : at] == b"/" or not _SPECIAL.search(glob, 0, at)
    if end - at < 2 or not whole or not opens:
        return _ANY_IN_PART, end
    if end == len(glob):
        return rb".*", end
    if glob[end : end + 1] == b"/":
        return rb"(?:.*/)?", end + 1
    return _ANY_IN_PART, end


def _class(glob: bytes, start: int) -> tuple[bytes, int]:
    """A bracket expression; one that is not closed matches nothing, and so the pattern."""
    at = start + 1
    negated = glob[at : at + 1] in {b"!", b"^"}
    at += negated
    parts: list[bytes] = []
    begin, before = at, -1  # `before`: a character that may begin a range
    while glob[at : at + 1] != b"]" or at == begin:
        named = _named_class(glob, at)
        if named is not None:
            text, at = named
            if not text:
                return _NEVER, len(glob)
            parts.append(text)
            before = -1
            continue
        ranged = glob[at : at + 1] == b"-" and before >= 0
        ranged = ranged and glob[at + 1 : at + 2] not in {b"", b"]"}
        value, at = _literal(glob, at + ranged)
        if value < 0:
            return _NEVER, len(glob)
        parts.append(_range(before if ranged else value, value))
        before = -1 if ranged else value
    body = b"".join(parts)
    if negated:
        return rb"[^/" + body + b"]", at + 1
    return rb"(?!/)[" + body + b"]" if body else _NEVER, at + 1


def _named_class(glob: bytes, at: int) -> tuple[bytes, int] | None:
    """`[:name:]` as its characters; None where there is none; empty for an unknown one."""
    close = glob.find(b"]", at + 2)
    if glob[at : at + 2] != b"[:" or close < at + 3 or glob[close - 1 : close] != b":":
        return None
    return _CLASSES.get(glob[at + 2 : close - 1], b""), close + 1


def _literal(glob: bytes, at: int) -> tuple[int, int]:
    """The character at `at`, a backslash before it removed; -1 where the pattern ends."""
    if glob[at : at + 1] == b"\\":
        at += 1
    return (glob[at], at + 1) if at < len(glob) else (-1, at)


def _range(low: int, high: int) -> bytes:
    if low > high:
        return b""
    return b"\\x%02x-\\x%02x" % (low, high)
