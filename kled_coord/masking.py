"""Masks the values of sensitive parameters in the output of builds and scripts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final

from kled_wire.names import WorkspaceId

HIDDEN: Final = "***"
# Anything shorter is in too many words: hiding it would say no less, and make a log unreadable.
_SHORTEST: Final = 3
# Too common in logs to be hidden: that would hide no secret.
_NO_SECRETS: Final = frozenset({"true", "false", "null"})
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')


# Gives all that is secret in a workspace.
ReadSecrets = Callable[[WorkspaceId], Awaitable[Iterable[str]]]


class Mask:
    """Replaces some values wherever they are, as they are or as they look in quotes."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        found = {form for form in forms - _NO_SECRETS if len(form) >= _SHORTEST}
        # The longest first: one may be the beginning of another.
        ordered = sorted(found, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._bytes = [form.encode("utf-8", "surrogatepass") for form in ordered]
        bytes_in_any_order = b"|".join(map(re.escape, self._bytes))
        self._bytes_pattern = re.compile(bytes_in_any_order) if ordered else None

    def hide(self, text: str) -> str:
        """The text without them."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def hide_begun(self, data: bytes, *, final: bool) -> tuple[bytes, int]:
        """The bytes without them, and of how many that is.

        What may be the beginning of one is left for the next time, unless nothing more comes.
        """
        if self._bytes_pattern is None:
            return data, len(data)
        end = len(data) if final else self._first_begun(data)
        shown, at = b"", 0
        for match in self._bytes_pattern.finditer(data):
            if match.start() >= end:
                break
            shown += data[at : match.start()] + HIDDEN.encode()
            at = match.end()
        end = max(end, at)
        return shown + data[at:end], end

    def _first_begun(self, data: bytes) -> int:
        """Where the first of them begins that `data` ends within; its length if there is none."""
        first = len(data)
        for form in self._bytes:
            at = data.find(form[:1], max(len(data) - len(form) + 1, 0), first)
            while at >= 0 and not form.startswith(data[at:]):
                at = data.find(form[:1], at + 1, first)
            first = at if at >= 0 else first
        return first

    def hide_within(self, value: Any) -> Any:
        """A value of JSON without them; a number that has one becomes a text."""
        match value:
            case str():
                return self.hide(value)
            case list():
                return [self.hide_within(item) for item in value]
            case dict():
                return {self.hide(name): self.hide_within(item) for name, item in value.items()}
            case bool() | None:
                return value
            case _:
                text = json.dumps(value)
                hidden = self.hide(text)
                return value if hidden == text else hidden


def _forms(secret: str) -> Iterator[str]:
    """How a value may stand in a text: whole, line by line, its quoted strings, and escaped."""
    quoted = [form for piece in _QUOTED.findall(secret) for form in (piece, _unescaped(piece))]
    pieces = {secret, *(line for text in (secret, *quoted) for line in (text, *text.splitlines()))}
    for piece in (piece.strip() for piece in pieces):
        yield piece
        # An error has its white space folded (`format_diagnostic`).
        yield " ".join(piece.split())
        for escaped in (json.dumps(piece)[1:-1], json.dumps(piece, ensure_ascii=False)[1:-1]):
            yield escaped
            # As Go's encoding/json writes it.
            yield "".join(f"\\u{ord(c):04x}" if c in "<>&" else c for c in escaped)


def _unescaped(quoted: str) -> str:
    """What a quoted string of Terraform's stands for, whose escapes are JSON's and two more."""
    try:
        text = json.loads(f'"{quoted}"', strict=False)
    except ValueError:
        return quoted
    return str(text).replace("$${", "${").replace("%%{", "%{")
