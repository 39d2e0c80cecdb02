r"""Go's regular expressions in the words of Python's `re`. Pure.

Templates are written for Go's (https://pkg.go.dev/regexp/syntax). Where the two differ in what
matches: Go's `$` is the end of the text alone, and its `\d`, `\w`, `\s` and `\b` know ASCII alone.
What Python has besides, as look-ahead, is taken.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

# Classes that are named within brackets, which Python has no names for.
_NAMED_CLASSES: Final[Mapping[str, str]] = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r"\t ",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_TOKEN: Final = re.compile(
    r"""
      \\Q(?P<quoted>.*?)(?:\\E|\Z)
    | \\(?P<negated>[pP])(?:\{(?P<long>\^?\w+)\}|(?P<short>[A-Z]))
    | \\x\{(?P<code>[0-9A-Fa-f]{1,6})\}
    | (?P<escape>\\.)
    | \[:(?P<named>\w+):\]
    | (?P<opens>\[\^?\]?)
    | (?P<group>\(\?<(?![=!]))
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_MULTILINE: Final = re.compile(r"\(\?[a-zA-Z]*m")


def python_pattern(pattern: str) -> str:
    """The same expression in Python's words; what is wrong with it, `re.compile` says."""
    end = "$" if _MULTILINE.search(pattern) else r"\Z"
    return "(?a)" + "".join(_translated(pattern, end))


def _translated(pattern: str, end: str) -> Iterator[str]:
    inside = False  # of brackets
    place = 0  # in a range within: before it, behind its beginning, behind its hyphen
    for token in _TOKEN.finditer(pattern):
        match token.lastgroup:
            case "quoted":
                yield re.escape(token["quoted"])
            case "long" | "short":
                yield _category(token, inside=inside)
            case "code":
                yield re.escape(chr(min(int(token["code"], 16), sys.maxunicode)))
            case "named" if inside:
                yield _NAMED_CLASSES.get(token["named"], re.escape(token[0]))
            case "opens" if inside:
                # A bracket within brackets is a character; another one may end them.
                yield "".join("]" if c == "]" else re.escape(c) for c in token[0])
                inside = "]" not in token[0]
            case "opens":
                yield token[0].replace("]", r"\]")
                inside, place = True, int("]" in token[0])
            case "group":
                yield "(?P<"
            case _:
                # A hyphen that begins or ends a range: of two Python warns that it may change.
                is_end = token[0] == "-" and inside and place != 1
                yield r"\-" if is_end else _character(token[0], end, inside=inside)
                inside = inside and token[0] != "]"
                place = 2 if token[0] == "-" and not is_end else 1 - place // 2


def _character(text: str, end: str, *, inside: bool) -> str:
    if text == r"\z":
        return r"\Z"
    if inside:
        return re.escape(text) if text in "&|~" else text  # Python may give two of them a meaning
    return end if text == "$" else text


def _category(token: re.Match[str], *, inside: bool) -> str:
    name = token["long"] or token["short"]
    is_negated = (token["negated"] == "P") != name.startswith("^")
    ranges = _ranges(name.removeprefix("^"), is_negated)
    if not ranges:
        return token[0]  # a script, of which Python knows nothing: it says so
    return ranges if inside else f"[{ranges}]"


@cache
def _ranges(category: str, is_negated: bool) -> str:  # a cache takes no names
    """The characters of a general category (`L`, `Lu`) as they stand within brackets."""
    found: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)).startswith(category) != is_negated:
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    if is_negated and found == [[0, sys.maxunicode]]:
        return ""  # there is no such category
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in found)
