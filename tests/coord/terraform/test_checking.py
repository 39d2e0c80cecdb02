"""Templates checked by the real terraform, before anything is built of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kled_coord.sandbox.choice import Sandbox
from kled_coord.terraform.checking import CheckInput, check_template
from kled_coord.terraform.output.errors import TemplateInvalidError
from kled_coord.terraform.session import Control
from kled_provider.serve import KLED
from tests.coord.terraform.running import PROCESS

pytestmark = pytest.mark.slow


async def check(
    binary: Any, tmp_path: Path, template: bytes, sandbox: Sandbox | None = None
) -> Any:
    directory = tmp_path / "check"
    directory.mkdir()
    return await check_template(
        CheckInput(template=template),
        binary=binary,
        directory=directory,
        providers=(KLED,),
        control=Control(sandbox=sandbox),
    )


async def test_the_shipped_template_is_valid(
    binary: Any, pack: Any, tmp_path: Path, sandbox: Any
) -> None:
    checked = await check(binary, tmp_path, pack({"main.tf": PROCESS}), sandbox)
    assert checked.warnings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('\nresource "x" "y" {\n  a = \n}\n', "main.tf:3: Invalid expression: "),
        (
            PROCESS.replace('name = "main"', 'nmae = "main"'),
            "main.tf:16: Unsupported argument: ",
        ),
        (PROCESS.replace('"main"\n}', '"Main"\n}'), "main.tf:16: Invalid name: "),
        (PROCESS.replace("kled_agent.main.id", "kled_agent.mian.id"), "main.tf:23: Reference to "),
    ],
)
async def test_a_wrong_template_is_refused_at_its_line(
    binary: Any, pack: Any, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(TemplateInvalidError) as caught:
        await check(binary, tmp_path, pack({"main.tf": text}))
    assert caught.value.code == "template_invalid"
    assert caught.value.message.startswith(message), caught.value.message
    assert caught.value.diagnostics


async def test_an_archive_without_a_template_is_refused(
    binary: Any, pack: Any, tmp_path: Path
) -> None:
    with pytest.raises(TemplateInvalidError, match=r"no \.tf file"):
        await check(binary, tmp_path, pack({"folder/main.tf": PROCESS}))
