"""Every shape that a schema has, against the real terraform."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.provider.conftest import FakeHost, Terraform, open_terraform
from tests.provider.plugin.everything import Everything, everything_provider

pytestmark = pytest.mark.slow

TEMPLATE = """
variable "port" { default = 80 }
variable "listeners" {
  type    = list(number)
  default = [443, 444]
}

resource "terraform_data" "later" {}

resource "test_everything" "it" {
  name   = "a"
  ratio  = 0.1
  tags   = ["b", "a", terraform_data.later.id]
  pairs  = [{ a = "x", b = 1.5 }]
  labels = { k = "v" }
  auth   = "token"
  secret = "hush"
  one    = { port = 1 }
  many   = [{ port = 2, protocol = "udp" }, { port = 3 }]
  several = [{ port = 4 }, { port = 5, note = terraform_data.later.id }]
  named  = { x = { port = 6 } }
  dynamic "listener" {
    for_each = var.listeners
    content {
      port = listener.value
      expiry { ttl = 10 }
    }
  }
  peer { port = 7 }
  peer {
    port     = 8
    protocol = "udp"
  }
  limit { port = var.port }
  backing { path = "/srv" }
}

data "test_reading" "it" {
  name = "d"
  listener { port = 9 }
  limit { port = 10 }
  backing { path = "/srv" }
}

output "handles" { value = test_everything.it.listener[*].handle }
output "protocol" { value = data.test_reading.it.listener[0].protocol }
"""


@pytest.fixture
def resource() -> Everything:
    found = everything_provider().resources[0]
    assert isinstance(found, Everything)
    return found


@pytest.fixture
async def terraform(
    host: FakeHost, tmp_path: Path, resource: Everything
) -> AsyncIterator[Terraform]:
    directory = tmp_path / "tf"
    directory.mkdir()
    provider = everything_provider()
    provider = type(provider)(
        name="test", resources=(resource,), data_sources=provider.data_sources
    )
    async with open_terraform(host, directory, {"registry.terraform.io/kled/test": provider}) as it:
        yield it


async def test_everything_is_made_and_then_there_is_nothing_to_do(
    host: FakeHost, terraform: Terraform, resource: Everything
) -> None:
    terraform.write(TEMPLATE)
    await terraform("init")
    output = await terraform("apply", "-auto-approve", "-no-color")
    assert 'protocol = "tcp"' in output
    await terraform("plan", "-detailed-exitcode", "-no-color")
    made = terraform.attributes("test_everything.it")
    assert made["secret"] is None
    assert (made["ratio"], made["pairs"]) == (0.1, [{"a": "x", "b": 1.5}])
    assert [item["handle"] for item in made["listener"]] == ["h", "h"]
    assert made["listener"][0]["expiry"] == {"ttl": 10}
    assert sorted(item["protocol"] for item in made["peer"]) == ["tcp", "udp"]
    assert resource.seen[0] == ("create", "hush")
    assert ("read", {"made": "a"}) in resource.seen
    assert host.notes == ["test_everything: auth does nothing here: every agent has a token"]


async def test_a_change_within_a_block_is_in_place_unless_it_forces(
    terraform: Terraform, resource: Everything
) -> None:
    terraform.write(TEMPLATE)
    await terraform("apply", "-auto-approve")
    output = await terraform("apply", "-auto-approve", "-no-color", "-var", "listeners=[1,444,2]")
    assert "0 added, 1 changed, 0 destroyed" in output
    assert resource.seen[-1] == ("update", {"made": "a"})
    terraform.write(
        TEMPLATE.replace("limit { port = var.port }", 'limit {\nport = 1\nzone = "x"\n}')
    )
    assert "must be replaced" in await terraform("plan", "-no-color")
    await terraform("destroy", "-auto-approve")
    assert resource.seen[-1] == ("delete", {"made": "a"})


async def test_what_is_unknown_at_plan_may_be_a_number_of_blocks(terraform: Terraform) -> None:
    unknown = 'for_each = [for i in range(2) : terraform_data.later.id == "" ? 1 : 2]'
    terraform.write(TEMPLATE.replace("for_each = var.listeners", unknown))
    await terraform("apply", "-auto-approve")
    await terraform("plan", "-detailed-exitcode")


@pytest.mark.parametrize(
    ("right", "wrong", "summary", "line"),
    [
        ("many   = [{ port = 2", "many   = [{ port = 0", "Invalid port", "many   = [{ port = 0"),
        ("named  = { x = { port = 6", "named = { x = { port = 0", "Invalid port", "named = {"),
        ("peer { port = 7 }", "peer { port = 0 }", "Invalid port", 'resource "test_everything"'),
        ("limit { port = var.port }", "limit { port = 0 }", "Invalid port", "limit { port = 0 }"),
        ('auth   = "token"', 'forbidden = "x"', "forbidden is not supported", 'forbidden = "x"'),
    ],
)
async def test_a_mistake_is_shown_at_its_element(
    terraform: Terraform, right: str, wrong: str, summary: str, line: str
) -> None:
    terraform.write(TEMPLATE.replace(right, wrong).replace("var.listeners", "[443]"))
    told = json.loads(await terraform("validate", "-json", code=1))["diagnostics"][0]
    assert told["summary"] == summary
    assert line in told["snippet"]["code"]


async def test_the_second_block_of_a_list_is_the_one_that_is_shown(terraform: Terraform) -> None:
    second = "listener {\nport = 2\nexpiry {\nttl = -1\n}\n}\n"
    blocks = "listener { port = 1 }\n" + second + "peer { port = 7 }"
    terraform.write(TEMPLATE.replace("peer { port = 7 }", blocks).replace("var.listeners", "[]"))
    told = json.loads(await terraform("validate", "-json", code=1))["diagnostics"][0]
    assert "ttl = -1" in told["snippet"]["code"]
    assert told["detail"] == "Use a whole number, 0 or more; got -1."


async def test_terraform_holds_to_the_numbers_of_blocks(terraform: Terraform) -> None:
    terraform.write(TEMPLATE.replace('  backing { path = "/srv" }', ""))
    assert "At least 1" in await terraform("validate", "-no-color", code=1)
    terraform.write(TEMPLATE)
    output = await terraform("plan", "-no-color", "-var", "listeners=[1,2,3,4]", code=1)
    assert "more than 3" in output


async def test_a_warning_at_plan_stops_nothing(terraform: Terraform) -> None:
    terraform.write(TEMPLATE.replace('name   = "a"', 'name = "odd"'))
    assert "Odd name" in await terraform("apply", "-auto-approve", "-no-color")


async def test_an_import_leaves_nothing_to_do(terraform: Terraform) -> None:
    terraform.write('resource "test_everything" "it" {\nname = "i"\nbacking { path = "/x" }\n}\n')
    await terraform("import", "test_everything.it", "i")
    await terraform("plan", "-detailed-exitcode")


async def test_a_state_of_an_older_schema_is_brought_up(terraform: Terraform) -> None:
    terraform.write('resource "test_everything" "it" {\nname = "i"\nbacking { path = "/x" }\n}\n')
    await terraform("apply", "-auto-approve")
    file = terraform.directory / "terraform.tfstate"
    saved = json.loads(file.read_text())
    instance = saved["resources"][0]["instances"][0]
    instance["schema_version"] = 1
    instance["attributes"]["title"] = instance["attributes"].pop("name")
    file.write_text(json.dumps(saved))
    await terraform("plan", "-detailed-exitcode")


async def test_the_schema_that_terraform_reads_is_ours(terraform: Terraform) -> None:
    terraform.write(TEMPLATE)
    said: Any = json.loads(await terraform("providers", "schema", "-json"))
    schema = said["provider_schemas"]["registry.terraform.io/kled/test"]
    block = schema["resource_schemas"]["test_everything"]["block"]
    blocks = {name: found["nesting_mode"] for name, found in block["block_types"].items()}
    assert blocks == {"listener": "list", "peer": "set", "limit": "set", "backing": "list"}
    assert block["block_types"]["backing"]["min_items"] == 1
    assert block["attributes"]["secret"]["write_only"]
    assert block["attributes"]["named"]["nested_type"]["nesting_mode"] == "map"
    assert block["attributes"]["pairs"]["type"] == [
        "list",
        ["object", {"a": "string", "b": "number"}],
    ]
