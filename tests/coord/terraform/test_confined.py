"""What a template that wants more than its workspace gets, under the real Terraform and bwrap."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from kled_coord.terraform.run import BuildInput, run_build
from kled_coord.terraform.session import Control
from kled_provider.serve import KLED
from tests.kit.processes import command_line

# Without one a template may do what the coordinator may.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("sandbox", ["in a sandbox"], indirect=True),
]


async def run(store: Any, host: Any, binary: Any, directory: Path, text: bytes) -> Any:
    directory.mkdir()
    output = await run_build(
        BuildInput(template=text, transition="start", backend=store.backend),
        binary=binary,
        host=host,
        directory=directory,
        on_event=_ignore,
        control=Control(
            sandbox=store.sandbox, inherited=dict(os.environ), given={"AWS_REGION": "here"}
        ),
        providers=(KLED,),
    )
    return {name: output.value for name, output in output.outputs.items()}


async def _ignore(_event: object) -> None:
    pass


async def test_a_template_reads_no_key_and_no_other_run(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    other = tmp_path / "runs/other/template"
    other.mkdir(parents=True)
    (other / "kled.tfplan").write_text("secrets of another")
    (tmp_path / "sealing.key").write_text("the key")
    text = f"""
    output "key" {{ value = fileexists("{tmp_path}/sealing.key") }}
    output "plan" {{ value = fileexists("{other}/kled.tfplan") }}
    output "runs" {{ value = fileset("{tmp_path}/runs", "**") }}
    """
    found = await run(store, host, binary, tmp_path / "runs/mine", pack({"main.tf": text}))
    assert found["key"] is False
    assert found["plan"] is False
    assert {name.partition("/")[0] for name in found["runs"]} == {"mine"}


async def test_a_program_of_a_template_sees_no_other_environment_and_ends_with_the_run(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    script = (
        "cat /proc/[0-9]*/environ | tr '\\\\000' '\\\\n' | sort -u > seen; "
        f"(setsid sleep 601.{os.getpid()} >/dev/null 2>&1 &)"
    )
    text = f"""
    resource "terraform_data" "a" {{
      provisioner "local-exec" {{ command = "{script}" }}
    }}
    """
    directory = tmp_path / "mine"
    await run(store, host, binary, directory, pack({"main.tf": text}))
    seen = (directory / "template/seen").read_text().splitlines()
    assert "AWS_REGION=here" in seen  # its own, and of nobody else
    assert not [line for line in seen if line.startswith("PYTEST_CURRENT_TEST=")]
    lines = [" ".join(command_line(process)) for process in psutil.process_iter()]
    assert not [line for line in lines if f"601.{os.getpid()}" in line]
