"""Writes TOML 1.0 (https://toml.io/en/v1.0.0): the standard library only reads it.

Tables and keys stand in the order given, so that the same configuration is the same text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
# The characters that a basic string must escape, besides other control codes.
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def toml_text(config: Mapping[str, Any]) -> str:
    """Write a document. Raises ValueError for a value that TOML cannot hold."""
    return "".join(_table(config, ())).lstrip("\n")


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in values.items():
        if not _is_table(value) and not _is_tables(value):
            yield f"{_key(key)} = {_value(value)}\n"
    for key, value in values.items():
        here = (*path, key)
        if _is_table(value):
            # A table that holds only others needs no header.
            if not value or not all(_is_table(item) for item in value.values()):
                yield f"\n[{_header(here)}]\n"
            yield from _table(value, here)
        elif _is_tables(value):
            for item in value:
                yield f"\n[[{_header(here)}]]\n"
                yield from _table(item, here)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_table(item) for item in value)


def _header(path: tuple[str, ...]) -> str:
    return ".".join(_key(step) for step in path)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _value(value: Any) -> str:
    match value:
        case bool():
            written = "true" if value else "false"
        case int():
            if not -(2**63) <= value < 2**63:
                raise ValueError(f"{value} does not fit TOML's whole numbers")
            written = str(value)
        case float():
            written = repr(value) if math.isfinite(value) else str(value)
        case str():
            written = _string(value)
        case list():
            written = f"[{', '.join(_value(item) for item in value)}]"
        case Mapping():
            written = f"{{{', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())}}}"
        case date() | time():  # a datetime is a date
            written = value.isoformat()
        case _:
            raise ValueError(f"{type(value).__name__} is no value of TOML")
    return written


def _string(value: str) -> str:
    return f'"{"".join(_character(c) for c in value)}"'


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0xD800 <= code < 0xE000:
        raise ValueError("a lone surrogate is no character")
    return f"\\u{code:04X}" if code < 0x20 or code == 0x7F else character
