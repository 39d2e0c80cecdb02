"""Errors of a push say where: also those for which Terraform names no place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kled_coord.builds.running.evaluation_host import EvaluationHost
from kled_coord.terraform.checking import CheckInput, check_template
from kled_coord.terraform.output.errors import TemplateInvalidError
from kled_coord.terraform.process.varfile import Value
from kled_coord.terraform.source.placing import find_place
from kled_provider.serve import KLED
from tests.coord.terraform.test_evaluator import SOURCE, workspace

CYCLE = """
resource "terraform_data" "a" {
  input = terraform_data.b.id
}
resource "terraform_data" "b" {
  input = terraform_data.a.id
}
"""
LOCALS = """
locals { c = 1 }
locals {
  a = local.b
  b = local.a
}
"""
WRONG_DEFAULT = """data "kled_parameter" "p" {
  name    = "p"
  type    = "number"
  default = "x"
}
"""
NOBODY = """
terraform {
  required_providers {
    nope = { source = "nobody/nope" }
  }
}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CYCLE, r"main\.tf:[25]: Cycle: terraform_data"),
        (LOCALS, r"main\.tf:3: Cycle: local\.[ab]"),
        (NOBODY, r"main\.tf:4: Failed to query available provider packages"),
        ('\nresource "nope_x" "y" {}\n', r"main\.tf:2: Failed to query available"),
        ('\n\nmodule "m" {\n  source = "./gone"\n}\n', r"main\.tf:3: Unreadable module"),
        ('terraform {\n  required_version = "~> 0.12"\n}\n', r"main\.tf:2: Unsupported Terraform"),
        (f'{SOURCE}resource "kled_agent" "a" {{\n  hue = 1\n}}\n', r"main\.tf:7: Unsupported arg"),
        (SOURCE + WRONG_DEFAULT, r"main\.tf:9: Invalid default: 'x' is not a number"),
    ],
)
async def test_a_push_is_refused_with_file_and_line(
    binary: Any, pack: Any, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(TemplateInvalidError, match=message):
        await check_template(
            CheckInput(template=pack({"main.tf": text}), is_planned=True),
            binary=binary,
            directory=tmp_path,
            host=EvaluationHost(workspace()),
            providers=(KLED,),
        )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Value(text="many"), r"variable n: Invalid value for input variable: .* main\.tf:1,"),
        (Value(text="a b", is_expression=True), r"variable n: (Unbalanced|Missing)"),
    ],
)
async def test_a_wrong_value_is_named_by_its_variable(
    binary: Any, pack: Any, tmp_path: Path, value: Value, message: str
) -> None:
    text = 'variable "n" { type = number }\nvariable "a" {}\n'
    with pytest.raises(TemplateInvalidError, match=message):
        await check_template(
            CheckInput(
                template=pack({"main.tf": text}),
                is_planned=True,
                variables={"n": value, "a": Value(text="x")},
            ),
            binary=binary,
            directory=tmp_path,
        )


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("var.a (expand)", 1),
        ("output.a (expand)", 2),
        ("module.a.local.b (expand)", 3),
        ("data.a.b", 4),
        ("local.a (expand)", 5),
    ],
)
def test_whatever_is_in_a_cycle_has_a_place(address: str, line: int) -> None:
    text = b'variable "a" {}\noutput "a" {}\nmodule "a" {}\ndata "a" "b" {}\nlocals { a = 1 }\n'
    found = find_place(f"Cycle: {address}, x.y", {"main.tf": text})
    assert found == f"main.tf:{line}"


def test_what_is_not_found_has_no_place() -> None:
    for message in (
        "Cycle: aws_x.y, local.z",
        "for provider a/b: no",
        "module: lstat x: no",
        "",
        "x",
    ):
        assert find_place(message, {"main.tf": b"locals {}", "notes.txt": b'"a/b"'}) == ""
