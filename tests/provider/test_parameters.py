"""Parameters and presets, evaluated by the real terraform."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kled_provider.kled.parameters.regex_process import is_match

TEMPLATE = """
data "kled_parameter" "kind" {
  name    = "kind"
  default = "vm"
  option {
    name  = "VM"
    value = "vm"
  }
  option {
    name  = "Container"
    value = "container"
  }
}

data "kled_parameter" "cores" {
  count   = data.kled_parameter.kind.value == "vm" ? 1 : 0
  name    = "cores"
  type    = "number"
  default = 2
  mutable = true
  validation {
    min   = 1
    max   = 8
    error = "1 to 8 cores"
  }
}

data "kled_parameter" "title" {
  name    = "title"
  default = "dev1"
  mutable = true
  validation {
    regex = "^[a-z]+[0-9]\\\\z"
    error = "letters and a digit"
  }
}

data "kled_preset" "big" {
  name       = "Big"
  parameters = { cores = 8, kind = "vm" }
}

output "cores" { value = try(tonumber(data.kled_parameter.cores[0].value) + 1, 0) }
"""


@pytest.mark.slow
async def test_a_parameter_under_count_0_does_not_exist(host: Any, terraform: Any) -> None:
    terraform.write(TEMPLATE)
    assert "cores = 3" in await terraform("plan", "-no-color")
    assert host.told["cores"]["value"] == "2"
    assert host.told["cores"]["form_type"] == "input"
    assert host.told["kind"]["option"][1]["value"] == "container"
    assert host.told["Big"]["parameters"] == {"cores": "8", "kind": "vm"}
    host.told.clear()
    host.parameters = {"kind": "container"}
    assert "cores = 0" in await terraform("plan", "-no-color")
    assert "cores" not in host.told


@pytest.mark.slow
async def test_a_wrong_value_is_told_while_asking_and_fails_a_build(
    host: Any, terraform: Any
) -> None:
    terraform.write(TEMPLATE)
    host.parameters = {"cores": "9", "title": "Dev"}
    host.asking = True
    assert "cores = 10" in await terraform("plan", "-no-color")
    assert host.told["cores"]["error"] == "1 to 8 cores"
    assert host.told["title"]["error"] == "letters and a digit"
    host.asking = False
    output = await terraform("plan", "-no-color", code=1)
    assert "Parameter cores: 1 to 8 cores" in output
    assert 'name    = "cores"' in output


@pytest.mark.slow
async def test_a_mistake_in_a_declaration_is_shown_at_its_option(terraform: Any) -> None:
    terraform.write(TEMPLATE.replace('value = "container"', 'value = "vm"'))
    output = await terraform("validate", "-no-color", code=1)
    assert "Two options of one value" in output
    assert 'value = "vm"' in output


@pytest.mark.slow
async def test_an_expression_that_never_ends_is_no_match() -> None:
    began = time.monotonic()
    assert not await is_match("(a+)+$", "a" * 60 + "b")
    assert time.monotonic() - began < 30
    assert await is_match(r"^[a-z]+\z", "abc")
    assert not await is_match(r"^[a-z]+\z", "abc\n")
