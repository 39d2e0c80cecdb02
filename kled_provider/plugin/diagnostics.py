"""Errors and warnings, which Terraform shows beside the line of the template.

A path names an attribute and, below it, a list index or a map key, as in
`AttributePath.Step` of tfplugin6.proto.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from kled_provider.grpc import protobuf


class Severity(enum.IntEnum):
    """`Diagnostic.Severity` in tfplugin6.proto."""

    ERROR = 1
    WARNING = 2


@dataclass(frozen=True, slots=True)
class MapKey:
    """A step into a map, where a plain `str` is an attribute's name."""

    name: str


Path = tuple[str | int | MapKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One thing to tell the person. `summary` is a title; `detail` sentences with what to do."""

    summary: str
    detail: str = ""
    path: Path = ()
    severity: Severity = Severity.ERROR


class DiagnosticError(Exception):
    """An operation failed in a way the person is meant to read."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("; ".join(d.summary for d in diagnostics))
        self.diagnostics = diagnostics

    @classmethod
    def of(cls, summary: str, detail: str = "", *, path: Path = ()) -> Self:
        """Make the error for a single diagnostic."""
        return cls(Diagnostic(summary=summary, detail=detail, path=path))


def raise_errors(found: Iterable[Diagnostic]) -> None:
    """Raise those diagnostics that are errors, if any is."""
    errors = [each for each in found if each.severity is Severity.ERROR]
    if errors:
        raise DiagnosticError(*errors)


def encode_path(path: Path) -> bytes:
    """Encode an `AttributePath` message."""
    return b"".join(protobuf.message(1, _encode_step(step)) for step in path)


def _encode_step(step: str | int | MapKey) -> bytes:
    # A member of a `oneof` is written even at its default, so index 0 and key "" keep their step.
    if isinstance(step, MapKey):
        return protobuf.message(2, step.name.encode("utf-8", "replace"))
    if isinstance(step, str):
        return protobuf.message(1, step.encode("utf-8", "replace"))
    return b"\x18" + protobuf.encode_varint(step)


def encode_diagnostic(diagnostic: Diagnostic) -> bytes:
    """Encode a `Diagnostic` message."""
    encoded = (
        protobuf.integer(1, diagnostic.severity)
        + protobuf.text(2, diagnostic.summary)
        + protobuf.text(3, diagnostic.detail)
    )
    if diagnostic.path:
        encoded += protobuf.message(4, encode_path(diagnostic.path))
    return encoded
