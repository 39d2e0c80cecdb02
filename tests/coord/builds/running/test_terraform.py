"""Terraform's events as log lines and progress."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_coord.builds.runner import Inquiry
from kled_coord.builds.running.terraform import Terraform, Translator, remove_previews
from kled_coord.bundles.store import BundleStore
from kled_coord.config import CoordinatorConfig
from kled_coord.sandbox.choice import SandboxChoice
from kled_coord.terraform.output.errors import TemplateInvalidError
from kled_coord.terraform.output.events import (
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
from kled_coord.terraform.session import RUN_MARK
from tests.coord.bundles.little import write_bundle


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

    def timings(self, steps: Sequence[Mapping[str, Any]]) -> None:
        self.timed = [(step["kind"], step["name"], step["failed"]) for step in steps]

    async def notes(self, values: Sequence[Mapping[str, Any]]) -> None:
        raise NotImplementedError


async def test_a_build_is_told_step_by_step() -> None:
    recorder = Recorder()
    translator = Translator(recorder, trio.current_time())
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
    assert recorder.timed == [("stage", "prepare", False), ("stage", "apply", False)]
    with suppress(ValueError), translator.timed():
        raise ValueError
    assert recorder.timed[1:] == [("stage", "apply", True), ("resource", "a.b", False)]
    assert recorder.steps == [(0, 0, "apply"), (0, 1, "apply"), (1, 1, "apply")]


def test_plans_of_a_killed_coordinator_end_and_leave_nothing(tmp_path: Path) -> None:
    left = [tmp_path / name / "one" for name in ("previews", "asking")]
    for directory in left:
        directory.mkdir(parents=True)
        (directory / "terraform.tfstate").write_text("secrets")
    others = tmp_path / "runs" / "bld_1.x"
    others.mkdir(parents=True)
    plan = subprocess.Popen(["sleep", "1000"], env={**os.environ, RUN_MARK: str(left[0])})
    build = subprocess.Popen(["sleep", "1000"], env={**os.environ, RUN_MARK: str(others)})
    try:
        trio.run(remove_previews, tmp_path)
        assert plan.wait(timeout=10) == -signal.SIGKILL
        assert build.poll() is None
    finally:
        for process in (plan, build):
            process.kill()
            process.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    trio.run(remove_previews, tmp_path)


async def test_an_error_keeps_terraforms_words_and_place() -> None:
    recorder = Recorder()
    found = TerraformDiagnostic(
        severity="error", summary="Bad", detail="it is", file="main.tf", line=3
    )
    translator = Translator(recorder, trio.current_time())
    await translator.translate(DiagnosticFound(found))
    assert recorder.lines[0][0] == "error"
    assert "main.tf:3" in recorder.lines[0][1]


NEEDY = """
terraform {
  required_providers {
    kled = { source = "kled/kled" }
  }
}
data "kled_parameter" "image" {
  name = "image"
}
resource "terraform_data" "it" {
  lifecycle {
    precondition {
      condition     = data.kled_parameter.image.value != ""
      error_message = "No image."
    }
  }
}
"""


def inquiry(make_tar: Any, text: str, **given: str) -> Inquiry:
    workspace = {"parameters": given, "previous_parameters": {}}
    template = make_tar({"main.tf": text.encode()})
    return Inquiry(template=template, variables={}, workspace=workspace)


@pytest.fixture
def terraform(tmp_path: Path) -> Terraform:
    return Terraform(
        environment=os.environ,
        path=None,
        env_file=None,
        quiet_s=0,
        stop_s=1,
        sandbox=SandboxChoice(CoordinatorConfig(sandbox="off")),
        data_dir=tmp_path,
        bundles=BundleStore(tmp_path / "bundles"),
    )


AGENT = """
terraform {
  required_providers {
    kled = { source = "kled/kled" }
  }
}
resource "kled_agent" "main" { arch = "arm64" }
"""


async def test_an_agent_that_fetches_itself_needs_a_bundle_for_its_architecture(
    make_tar: Any, terraform: Terraform, tmp_path: Path
) -> None:
    script = AGENT + 'output "script" { value = kled_agent.main.init_script }'
    (warning,) = (await terraform.check(inquiry(make_tar, script))).warnings
    assert warning.startswith("main.tf:7: The coordinator has no bundle of the agent for arm64")
    assert "scripts/build-agent-bundle --arch arm64" in warning
    assert (await terraform.check(inquiry(make_tar, AGENT))).warnings == ()
    write_bundle(tmp_path / "made.tar.gz", "amd64")
    BundleStore(tmp_path / "bundles").add(tmp_path / "made.tar.gz")
    assert len((await terraform.check(inquiry(make_tar, script))).warnings) == 1
    write_bundle(tmp_path / "made.tar.gz", "arm64")
    BundleStore(tmp_path / "bundles").add(tmp_path / "made.tar.gz")
    assert (await terraform.check(inquiry(make_tar, script))).warnings == ()


async def test_what_fails_for_want_of_a_value_is_no_fault_of_the_template(
    make_tar: Any, terraform: Terraform
) -> None:
    unplanned = await terraform.check(inquiry(make_tar, NEEDY))
    assert (unplanned.answer, unplanned.changes) == (None, None)
    planned = await terraform.check(inquiry(make_tar, NEEDY, image="x"))
    assert planned.changes == (("terraform_data.it", "create"),)
    with pytest.raises(TemplateInvalidError, match="No image"):
        await terraform.check(inquiry(make_tar, NEEDY, image=""))
