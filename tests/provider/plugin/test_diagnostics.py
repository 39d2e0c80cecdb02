"""Diagnostics as Terraform reads them."""

from __future__ import annotations

from kled_provider.grpc import protobuf
from kled_provider.plugin.diagnostics import (
    Diagnostic,
    DiagnosticError,
    MapKey,
    Severity,
    encode_diagnostic,
    encode_path,
)


def test_each_kind_of_step_has_its_field_even_at_its_default() -> None:
    steps = [
        protobuf.decode(step)
        for step in protobuf.decode(encode_path(("env", MapKey(""), 0, 3))).blobs(1)
    ]
    assert [list(step.values.items()) for step in steps] == [
        [(1, [b"env"])],
        [(2, [b""])],
        [(3, [0])],
        [(3, [3])],
    ]


def test_a_diagnostic_has_severity_texts_and_path() -> None:
    fields = protobuf.decode(
        encode_diagnostic(
            Diagnostic(summary="S", detail="D", path=("a",), severity=Severity.WARNING)
        )
    )
    assert (fields.integer(1), fields.text(2), fields.text(3)) == (2, "S", "D")
    assert fields.blob(4) == encode_path(("a",))


def test_without_a_path_it_is_about_the_whole() -> None:
    assert not protobuf.decode(encode_diagnostic(Diagnostic(summary="S"))).has(4)


def test_an_error_says_all_its_summaries() -> None:
    error = DiagnosticError(Diagnostic(summary="one"), Diagnostic(summary="two"))
    assert str(error) == "one; two"
