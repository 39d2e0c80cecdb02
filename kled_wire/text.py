"""Makes strings from outside safe to print: they must not control a terminal. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

# ECMA-48, "select graphic rendition".
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def printable(text: str, *, keep: str = "") -> str:
    """Drop colours, and replace what is not to be seen unless it is in `keep`.

    That is control characters (C0, DEL, C1), line ends, and format characters, those that turn the
    direction of writing among them. NUL, for one, cannot be kept in a database either.
    """
    if text.isprintable():
        return text
    plain = _COLOUR.sub("", text)
    return "".join(c if c.isprintable() or c in keep else "\ufffd" for c in plain)


def printable_json(value: Any, *, indent: int | None = None) -> str:
    """JSON (RFC 8259) with what is not to be seen escaped, and everything else as it is."""
    shown = json.dumps(value, indent=indent, ensure_ascii=False)
    if shown.isprintable():
        return shown
    # Outside strings there is nothing of that kind but the line ends of the indentation.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in shown)
