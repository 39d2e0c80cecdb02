"""Writes the file of a build's values: the last `-var-file`, which overrides all others.

One file in HCL's native syntax holds both kinds that Terraform itself knows for a value given as
text: one that stands for itself is written as a quoted string, one that is an expression as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_PRIMITIVE: Final = frozenset({"", "string", "number", "bool"})
# HCL's escapes (hclsyntax/spec.md, "Template Expressions"); the rest is printed as it is.
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A variable's value, as text that is valid Unicode, or as an expression of Terraform's."""

    text: str = field(repr=False)
    is_expression: bool = False
    is_secret: bool = False
    is_ephemeral: bool = False


def render_values(values: Mapping[str, Value]) -> str:
    """Write the file. The names are HCL identifiers."""
    return "".join(_line(name, value) for name, value in sorted(values.items()))


def name_at(values: Mapping[str, Value], line: int) -> str:
    """The variable in whose value a line of the file is, the first being 1; "": in none."""
    after = 1
    for name, value in sorted(values.items()):
        after += _line(name, value).count("\n")
        if line < after:
            return name
    return ""


def _line(name: str, value: Value) -> str:
    return f"{name} = {_render(value)}\n"


def _render(value: Value) -> str:
    if value.is_expression:
        # Inside brackets a value may have several lines; the line end keeps a comment from
        # swallowing the bracket.
        return f"(\n{value.text}\n)"
    return quoted(value.text)


def is_expression(type_text: str) -> bool:
    """Whether text for a variable of that type is source text.

    As for TF_VAR_NAME: it stands for itself where the type is a primitive or not said.
    """
    return type_text not in _PRIMITIVE


def source_of(type_text: str, text: str) -> str:
    """A value that was given as text for a variable of that type, as source text."""
    return text if is_expression(type_text) else quoted(text)


def quoted(text: str) -> str:
    """The text as a quoted string of HCL's."""
    escaped = "".join(_ESCAPES.get(c) or (c if c.isprintable() else _code(c)) for c in text)
    return '"' + escaped.replace("${", "$${").replace("%{", "%%{") + '"'


def _code(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
