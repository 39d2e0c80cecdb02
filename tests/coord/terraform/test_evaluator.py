"""A template is asked for its parameters by Terraform itself, and nothing else of it runs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from kled_coord.builds.runner import TemplateForm
from kled_coord.builds.running.evaluation_host import EvaluationHost
from kled_coord.sandbox.choice import Sandbox
from kled_coord.terraform.checking import CheckInput, check_template
from kled_coord.terraform.evaluator import EvaluationInput, Evaluator
from kled_coord.terraform.output.errors import TemplateInvalidError
from kled_coord.terraform.process.varfile import Value
from kled_coord.terraform.session import Control
from kled_provider.serve import KLED
from kled_wire.errors import UnavailableError

TEMPLATE = """
variable "region" {}

data "kled_parameter" "kind" {
  name    = "kind"
  order   = 1
  default = "small"
  option {
    name  = "Small"
    value = "small"
  }
  option {
    name  = "Large"
    value = "large"
  }
}

data "kled_parameter" "cpus" {
  count = data.kled_parameter.kind.value == "large" ? 1 : 0
  name  = "cpus"
  order = 2
  type  = "number"
  validation {
    min   = 4
    error = "a large one has at least {min}, not {value}"
  }
}

data "kled_parameter" "place" {
  name        = "place"
  description = "near ${var.region}"
  default     = "here"
}

data "kled_preset" "big" {
  name       = "Big"
  parameters = { kind = "large", cpus = "8" }
}

module "inner" {
  source = "./inner"
}

data "external" "never" {
  program = ["sh", "-c", "touch ${path.module}/ran; echo {}"]
}

resource "terraform_data" "never" {
  provisioner "local-exec" { command = "touch ran" }
}
"""
# No provider of somebody else's can be fetched here: what would run is a resource of Terraform's.
PLAIN = TEMPLATE[: TEMPLATE.index('data "external"')] + TEMPLATE[TEMPLATE.index("resource ") :]
INNER = """
data "kled_parameter" "editor" {
  name    = "editor"
  order   = 9
  default = "vim"
  mutable = true
}
"""
SOURCE = 'terraform {\n  required_providers {\n    kled = { source = "kled/kled" }\n  }\n}\n'
FILES = {
    "main.tf": PLAIN,
    "versions.tf": SOURCE,
    "inner/main.tf": INNER,
    "inner/versions.tf": SOURCE,
}
REGION = {"region": Value(text="eu")}


def workspace(**parameters: str) -> dict[str, Any]:
    names = ("id", "name", "owner", "owner_id", "template_name", "template_version", "build_id")
    return {
        **{name: f"the-{name}" for name in names},
        "transition": "start",
        "start_count": 1,
        "access_url": "http://127.0.0.1:1",
        "parameters": parameters,
        "previous_parameters": {},
    }


PRESET = """
data "kled_preset" "a" {
  name    = "Big"
  default = true
}
"""


async def ask(
    evaluator: Evaluator,
    binary: Any,
    template: bytes,
    names: Collection[str] = (),
    *,
    sandbox: Sandbox | None = None,
    **given: str,
) -> TemplateForm:
    host = EvaluationHost(workspace(**given), names)
    await evaluator.evaluate(
        EvaluationInput(template=template, host=host, variables=REGION),
        binary=binary,
        control=Control(sandbox=sandbox),
        providers=(KLED,),
    )
    return host.answer()


async def test_parameters_follow_the_answers(
    binary: Any, pack: Any, tmp_path: Path, sandbox: Sandbox | None
) -> None:
    evaluator, template = Evaluator(tmp_path / "asking"), pack(FILES)
    first = await ask(evaluator, binary, template, sandbox=sandbox)
    assert [(p.name, p.value, p.error) for p in first.parameters] == [
        ("place", "here", None),
        ("kind", "small", None),
        ("editor", "vim", None),
    ]
    assert first.parameters[0].description == "near eu"
    assert [o.value for o in first.parameters[1].options] == ["small", "large"]
    assert first.presets[0].parameters == {"kind": "large", "cpus": "8"}
    # One that hangs on another's value is there with that value, and needs one of its own.
    large = await ask(evaluator, binary, template, sandbox=sandbox, kind="large")
    assert [p.name for p in large.parameters] == ["place", "kind", "cpus", "editor"]
    assert large.parameters[2].error is not None
    assert large.parameters[2].default is None
    # Wrong ones are told, all of them, in the author's words.
    wrong = await ask(
        evaluator, binary, template, sandbox=sandbox, kind="large", cpus="2", place="there"
    )
    assert [(p.name, p.error) for p in wrong.parameters if p.error] == [
        ("cpus", "a large one has at least 4, not 2")
    ]
    (ready,) = (tmp_path / "asking").iterdir()
    assert not list(ready.rglob("ran"))
    assert not list(ready.rglob("*.tfstate.lock*"))


async def test_a_template_that_is_wrong_is_refused_each_time(
    binary: Any, pack: Any, tmp_path: Path
) -> None:
    evaluator = Evaluator(tmp_path / "asking")
    template = pack({"main.tf": 'module "m" {\n  source = "./gone"\n}\n' + SOURCE})
    for _ in range(2):
        with pytest.raises(TemplateInvalidError, match="gone"):
            await ask(evaluator, binary, template)


async def test_of_many_templates_the_last_ones_stay_ready(
    binary: Any, pack: Any, tmp_path: Path
) -> None:
    evaluator = Evaluator(tmp_path / "asking", ready_max=1)
    for number in range(2):
        found = await ask(evaluator, binary, pack({"main.tf": f"# {number}\n{SOURCE}{INNER}"}))
        assert [p.name for p in found.parameters] == ["editor"]
    assert len(list((tmp_path / "asking").iterdir())) == 1


async def test_a_question_has_an_end(binary: Any, pack: Any, tmp_path: Path) -> None:
    evaluator = Evaluator(tmp_path / "asking", answer_s=0.0)
    with pytest.raises(UnavailableError, match="did not evaluate the parameters"):
        await ask(evaluator, binary, pack({"main.tf": SOURCE + INNER}))


async def test_a_check_plans_what_a_start_would_do(
    binary: Any, pack: Any, tmp_path: Path, sandbox: Sandbox | None
) -> None:
    host = EvaluationHost(workspace(kind="large", cpus="4"))
    found = await check_template(
        CheckInput(template=pack(FILES), variables=REGION, is_planned=True),
        binary=binary,
        directory=tmp_path,
        host=host,
        providers=(KLED,),
        control=Control(sandbox=sandbox),
    )
    assert [(c.address, c.action) for c in found.changes] == [("terraform_data.never", "create")]
    assert found.has_parameters
    assert [p.name for p in host.answer().parameters] == ["place", "kind", "cpus", "editor"]
    assert not list(tmp_path.rglob("ran"))


async def test_a_wrong_value_is_told_though_what_depends_on_it_would_fail(
    binary: Any, pack: Any, tmp_path: Path
) -> None:
    depending = """
data "kled_parameter" "zone" {
  for_each = toset(jsondecode(data.kled_parameter.zones.value))
  name     = each.key
  default  = "x"
}
data "kled_parameter" "zones" {
  name = "zones"
  type = "list(string)"
}
"""
    template = pack({"main.tf": SOURCE + depending})
    found = await ask(Evaluator(tmp_path / "asking"), binary, template, zones="eu")
    told = [(p.name, p.value, p.error) for p in found.parameters]
    assert told == [("zones", "eu", "'eu' is not a JSON list of strings.")]


async def test_a_module_that_is_called_with_count_is_asked_too(
    binary: Any, pack: Any, tmp_path: Path
) -> None:
    """As everybody calls the modules of a registry: for nothing while a workspace is stopped."""
    call = (
        'module "inner" {\n  count = data.kled_workspace.me.start_count\n  source = "./inner"\n}\n'
    )
    main = SOURCE + 'data "kled_workspace" "me" {}\n' + call
    template = pack({"main.tf": main, "inner/main.tf": SOURCE + INNER})
    found = await ask(Evaluator(tmp_path / "asking"), binary, template, editor="emacs")
    assert [(p.name, p.value) for p in found.parameters] == [("editor", "emacs")]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (INNER.replace('"editor" {', '"other" {'), "two parameters are called 'editor'"),
        (PRESET + PRESET.replace('"a" {', '"b" {'), "two presets are called 'Big'"),
        (
            PRESET + PRESET.replace('"a" {', '"b" {').replace("Big", "Small"),
            "two presets are the default: '(Big|Small)' and",
        ),
        ('variable "region" {}\n', "a variable and a parameter are both called 'editor'"),
    ],
)
async def test_what_has_the_name_of_another_is_refused_at_its_line(
    binary: Any, pack: Any, tmp_path: Path, more: str, said: str
) -> None:
    names = ["editor"] if more.startswith("variable") else []
    with pytest.raises(TemplateInvalidError, match=rf"^main.tf:\d+: {said}"):
        await ask(
            Evaluator(tmp_path / "asking"), binary, pack({"main.tf": SOURCE + INNER + more}), names
        )
