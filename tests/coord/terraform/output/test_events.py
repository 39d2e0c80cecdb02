"""Terraform's events: real recordings, and whatever else may come."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.terraform.output.events import (
    ChangeSummary,
    DiagnosticFound,
    Event,
    OutputsFound,
    ResourceDone,
    ResourceFailed,
    ResourcePlanned,
    ResourceStarted,
    StageBegan,
    TemplateOutput,
    TerraformDiagnostic,
    TerraformMessage,
    TerraformProgress,
    format_diagnostic,
    parse_line,
    parse_validation,
)

RECORDED = Path(__file__).parents[1] / "recorded"  # Terraform 1.11.4
KINDS = ("planned_change", "apply_start", "apply_complete", "diagnostic", "outputs", "x")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=6,
)
KEYS = ("type", "hook", "change", "changes", "diagnostic", "outputs", "@level", "@message")


def recorded(name: str) -> list[Event]:
    events = [parse_line(line) for line in (RECORDED / name).read_bytes().splitlines()]
    return [event for event in events if event is not None]


def test_a_failed_apply_is_read_whole() -> None:
    events = recorded("apply_failed.jsonl")
    assert ResourcePlanned("terraform_data.bad", "create") in events
    assert ResourceStarted("terraform_data.one", "create") in events
    assert ResourceDone("terraform_data.one", "create", 0) in events
    assert ResourceFailed("terraform_data.bad", "create", 0) in events
    assert ChangeSummary("plan", 3, 0, 0) in events
    (found,) = [e.diagnostic for e in events if isinstance(e, DiagnosticFound)]
    assert (found.severity, found.file, found.line) == ("error", "fail.tf", 3)
    assert found.address == "terraform_data.bad"
    assert format_diagnostic(found) == (
        "fail.tf:3: local-exec provisioner error: Error running command 'echo oops; exit 3': "
        "exit status 3. Output: oops"
    )


def test_outputs_come_with_values_but_for_sensitive_ones() -> None:
    outputs = [e.outputs for e in recorded("apply_after.jsonl") if isinstance(e, OutputsFound)]
    assert outputs[-1] == {
        "secret": TemplateOutput(value=None, sensitive=True),
        "size": TemplateOutput(value=3, sensitive=False),
    }


@pytest.mark.parametrize(
    ("name", "done", "failed", "total"),
    [("apply_failed.jsonl", 2, 1, 3), ("replace.jsonl", 4, 0, 4), ("destroy.jsonl", 3, 0, 3)],
)
def test_progress_counts_each_step_once(name: str, done: int, failed: int, total: int) -> None:
    progress = reduce(TerraformProgress.after, recorded(name), TerraformProgress())
    assert (progress.done, progress.failed, progress.total) == (done, failed, total)
    assert progress.running == frozenset()


def test_progress_shows_what_is_being_worked_on() -> None:
    progress = TerraformProgress()
    for event in (
        ResourcePlanned("a", "create"),
        ResourcePlanned("b", "replace"),
        ResourcePlanned("c", "noop"),
        StageBegan("apply"),
        ResourceStarted("data.d", "read"),
        ResourceStarted("a", "create"),
    ):
        progress = progress.after(event)
    assert (progress.done, progress.total, progress.running) == (0, 3, frozenset("a"))


def test_reads_while_planning_are_no_part_of_the_work() -> None:
    events: list[Event] = [ResourceStarted("data.d", "read"), ResourceDone("data.d", "read", 0)]
    assert reduce(TerraformProgress.after, events, TerraformProgress()) == TerraformProgress()


def test_a_failed_validation_is_read() -> None:
    found = parse_validation((RECORDED / "validate_failed.json").read_bytes())
    assert found is not None
    assert [format_diagnostic(d).partition(": ")[0] for d in found] == ["bad.tf:2", "bad.tf:1"]


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"{}", b'{"diagnostics": {}}', b"\xff"])
def test_what_is_no_validation_is_told_apart(document: bytes) -> None:
    assert parse_validation(document) is None


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"", None),
        (b"  \r", None),
        (b"panic: runtime error", TerraformMessage("info", "panic: runtime error")),
        (b"[1]", TerraformMessage("info", "[1]")),
        (b"\xff\xfe", TerraformMessage("info", "\ufffd\ufffd")),
        (b"[" * 5000, TerraformMessage("info", "[" * 5000)),
        (b'{"type": "new", "@level": "warn", "@message": "m"}', TerraformMessage("warn", "m")),
        (b'{"type": ["x"], "@message": 1}', TerraformMessage("info", "")),
        (b'{"type": "apply_start", "hook": 3}', ResourceStarted("", "")),
    ],
)
def test_lines_we_do_not_know_are_log_lines(line: bytes, event: Event | None) -> None:
    assert parse_line(line) == event


@given(st.binary(max_size=100))
def test_no_line_is_too_strange(line: bytes) -> None:
    parse_line(line)


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(KEYS), JSON), JSON)
def test_no_object_is_too_strange(kind: str, fields: dict[str, object], inner: object) -> None:
    line = json.dumps({**fields, "type": kind, "hook": {"resource": inner, "elapsed_seconds": 1}})
    event = parse_line(line.encode())
    assert event is not None
    TerraformProgress().after(event)


def test_a_diagnostic_without_a_place_names_the_resource_or_nothing() -> None:
    plain = TerraformDiagnostic(severity="error", summary="Bad\nthing")
    assert format_diagnostic(plain) == "Bad thing"


def test_terraforms_own_options_are_not_what_a_person_has() -> None:
    use = "Use a -var or -var-file command line argument to provide a value for this variable."
    found = TerraformDiagnostic(
        severity="error", summary="No value for required variable", detail=use
    )
    assert format_diagnostic(found).endswith(": Give it with -p NAME=VALUE.")
    assert format_diagnostic(
        TerraformDiagnostic(severity="error", summary="Bad", detail="Why.", address="a.b")
    ) == ("a.b: Bad: Why.")
