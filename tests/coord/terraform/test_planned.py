"""Two agents of one name are refused when they are planned, at a push and in a build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kled_coord.builds.running.evaluation_host import EvaluationHost
from kled_coord.terraform.checking import CheckInput, check_template
from kled_coord.terraform.output.events import ResourceStarted, StageBegan
from kled_coord.terraform.process.varfile import Value
from kled_coord.terraform.run import BuildInput, run_build
from kled_provider.serve import CODER, KLED
from kled_wire.errors import InputError
from tests.coord.terraform.test_evaluator import workspace

SOURCES = """
terraform {
  required_providers {
    kled  = { source = "kled/kled" }
    coder = { source = "coder/coder" }
  }
}
"""
CODERS = """
resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}
"""
KLEDS = """
resource "kled_agent" "x" {
}
"""
MODULES = """
module "a" {
  source = "./inner"
}
module "b" {
  source = "./inner"
  count  = 2
}
"""
NAMED = """
variable "name" {
  default = "main"
}
resource "kled_agent" "x" {
  name = var.name
}
"""
MODULAR = {"main.tf": SOURCES + MODULES, "inner/main.tf": SOURCES + CODERS}
APPS = """resource "coder_app" "a" {
  agent_id = coder_agent.main.id
  slug     = "web"
}
resource "coder_app" "b" {
  agent_id = coder_agent.main.id
  slug     = "web"
}
"""
UNKNOWN = 'resource "terraform_data" "x" {}\n'
ALIKE = SOURCES + CODERS.replace("main", "my_dev") + CODERS.replace("main", "my-dev")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"main.tf": SOURCES + KLEDS, "z.tf": CODERS},
            "main.tf:9: two agents are called main: coder_agent.main and kled_agent.x",
        ),
        (
            MODULAR,
            (
                "main.tf:12: two agents are called main: "
                "module.a.coder_agent.main and module.b[0].coder_agent.main"
            ),
        ),
        (
            {"main.tf": ALIKE},
            "main.tf:9: two agents are called my-dev: coder_agent.my-dev and coder_agent.my_dev",
        ),
    ],
)
async def test_a_push_is_refused_with_file_and_line(
    binary: Any, pack: Any, tmp_path: Path, files: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        await check_template(
            CheckInput(template=pack(files), is_planned=True),
            binary=binary,
            directory=tmp_path,
            host=EvaluationHost(workspace()),
            providers=(KLED, CODER),
        )
    assert caught.value.message == said
    assert caught.value.code == "agent_name_taken"


async def test_two_apps_of_one_slug_are_refused_at_a_push(
    binary: Any, pack: Any, tmp_path: Path
) -> None:
    async def check(name: str, text: str) -> None:
        (tmp_path / name).mkdir()
        await check_template(
            CheckInput(template=pack({"main.tf": SOURCES + text}), is_planned=True),
            binary=binary,
            directory=tmp_path / name,
            host=EvaluationHost(workspace()),
            providers=(KLED, CODER),
        )

    with pytest.raises(InputError) as caught:
        await check("one", CODERS + APPS)
    said = "main.tf:17: two apps have the slug web: coder_app.a and coder_app.b"
    assert (caught.value.message, caught.value.code) == (said, "template_invalid")
    await check("two", CODERS + APPS.replace("web", "${terraform_data.x.id}") + UNKNOWN)
    second = CODERS.replace("main", "other")
    await check("each", CODERS + second + APPS.replace("main", "other", 1))


async def test_a_build_is_refused_before_anything_is_applied(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    seen: list[Any] = []

    async def build(name: str) -> None:
        directory = tmp_path / name
        directory.mkdir()
        seen.clear()
        await run_build(
            BuildInput(
                template=pack({"main.tf": SOURCES + CODERS + NAMED}),
                transition=host.transition,
                backend=store.backend,
                variables={"name": Value(text=name)},
            ),
            binary=binary,
            host=host,
            directory=directory,
            on_event=_keep(seen),
            providers=(KLED, CODER),
        )

    await build("other")
    with pytest.raises(InputError, match=r"called main: coder_agent\.main and kled_agent\.x"):
        await build("main")
    assert [event.stage for event in seen if isinstance(event, StageBegan)] == ["init", "plan"]
    assert not [event for event in seen if isinstance(event, ResourceStarted)]
    assert store.addresses() == ["coder_agent.main", "kled_agent.x"]


def _keep(seen: list[Any]) -> Any:
    async def keep(event: Any) -> None:
        seen.append(event)

    return keep
