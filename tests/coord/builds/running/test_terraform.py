"""Terraform's events as log lines and progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kled_coord.builds.running.terraform import Translator
from kled_coord.terraform.events import (
    DiagnosticFound,
    OutputsFound,
    ResourceDone,
    ResourcePlanned,
    ResourceStarted,
    StageBegan,
    TemplateOutput,
    TerraformDiagnostic,
    TerraformMessage,
)


class Recorder:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.steps: list[tuple[int, int, str]] = []

    async def line(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    async def progress(self, done: int, total: int, message: str) -> None:
        self.steps.append((done, total, message))

    def outputs(self, values: Mapping[str, Any]) -> None:
        self.found = values


async def test_a_build_is_told_step_by_step() -> None:
    recorder = Recorder()
    translator = Translator(recorder)
    for event in (
        StageBegan("apply"),
        TerraformMessage("info", "hello"),
        TerraformMessage("warn", "careful"),
        ResourcePlanned("a.b", "create"),
        ResourceStarted("a.b", "create"),
        ResourceDone("a.b", "create", 1.0),
        OutputsFound({"n": TemplateOutput(value="1", sensitive=False)}),
    ):
        await translator.translate(event)
    assert recorder.lines == [
        ("info", "hello"),
        ("warning", "careful"),
        ("info", "a.b: creating"),
        ("info", "a.b: created after 1 s"),
        ("info", 'output n = "1"'),
    ]
    assert recorder.found == {"n": {"value": "1", "sensitive": False}}
    assert recorder.steps == [(0, 0, "apply"), (0, 1, "apply"), (1, 1, "apply")]


async def test_an_error_keeps_terraforms_words_and_place() -> None:
    recorder = Recorder()
    found = TerraformDiagnostic(
        severity="error", summary="Bad", detail="it is", file="main.tf", line=3, address=None
    )
    await Translator(recorder).translate(DiagnosticFound(found))
    assert recorder.lines[0][0] == "error"
    assert "main.tf:3" in recorder.lines[0][1]
