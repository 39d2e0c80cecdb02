"""Templates that use all that may be set, with each Terraform there is: the same comes of it."""

from __future__ import annotations

import getpass
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kled_coord.terraform.output.errors import TerraformMissingError
from kled_coord.terraform.process.binary import find_binary
from kled_provider.coder.provider import coder_provider
from kled_provider.kled.provider import kled_provider
from kled_provider.plugin.resource import Provider
from kled_provider.plugin.schema import Body
from kled_provider.serve import CODER, KLED
from tests.kit.stub_providers import docker_provider
from tests.provider.conftest import FakeHost, Terraform, open_terraform

TEMPLATES = Path(__file__).parent / "templates"
DOCKER = {"registry.terraform.io/kreuzwerker/docker": docker_provider()}
# What is made anew each time: ids of resources, and what stands for the names of Coder's agents.
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|unnamed-[0-9a-f]{16}")
OTHER_EACH_TIME = {"pid", "started_at"}


def settable(body: Body, path: str) -> set[str]:
    """What a template may set in a block, by its place, with the blocks in it."""
    own = {f"{path}.{item.name}" for item in body.attributes if item.required or item.optional}
    return own.union(*(settable(block, f"{path}.{block.name}") for block in body.blocks))


def used(expressions: object, path: str) -> set[str]:
    """What a template sets, as `terraform show -json` has its configuration."""
    if isinstance(expressions, list):
        return set[str]().union(*(used(block, path) for block in expressions))
    assert isinstance(expressions, dict)
    if path.count(".") and expressions.keys() <= {"constant_value", "references"}:
        return {path}
    return set[str]().union(*(used(each, f"{path}.{name}") for name, each in expressions.items()))


def settled(resources: list[dict[str, Any]]) -> dict[str, Any]:
    """The resources of a state by address, without what is another thing each time."""
    found = json.loads(ID.sub("an id", json.dumps(resources)))
    return {
        f"{each['mode']}.{each['type']}.{each['name']}": [
            {k: v for k, v in instance["attributes"].items() if k not in OTHER_EACH_TIME}
            for instance in each["instances"]
        ]
        for each in found
    }


async def build(terraform: Terraform) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Plan and apply, a plan after that has to be empty; then it all goes.

    Returns the resources of the configuration and those of the state.
    """
    await terraform("init", "-no-color")
    await terraform("plan", "-out", "made", "-no-color")
    plan = json.loads(await terraform("show", "-json", "made"))
    await terraform("apply", "-no-color", "made")
    try:
        await terraform("plan", "-detailed-exitcode", "-no-color")
        saved = json.loads((terraform.directory / "terraform.tfstate").read_text())
    finally:
        await terraform("destroy", "-auto-approve", "-no-color")
    for left in terraform.directory.glob("terraform.tfstate*"):
        left.unlink()
    shutil.rmtree(terraform.directory / ".terraform", ignore_errors=True)
    return plan["configuration"]["root_module"]["resources"], saved["resources"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "provider", "addresses"),
    [
        ("kled", kled_provider(), KLED.addresses),
        ("coder", coder_provider(), CODER.addresses),
    ],
)
async def test_both_terraforms_make_the_same_of_all_that_may_be_set(
    host: FakeHost, tmp_path: Path, name: str, provider: Provider, addresses: tuple[str, ...]
) -> None:
    try:
        embedded = await find_binary({"PATH": "/nonexistent"})
    except TerraformMissingError:
        pytest.skip("no embedded Terraform")
    directory = tmp_path / "tf"
    shutil.copytree(TEMPLATES / name, directory)
    (directory / "user.auto.tfvars").write_text(f'user = "{getpass.getuser()}"\n')
    async with open_terraform(
        host, directory, {**dict.fromkeys(addresses, provider), **DOCKER}
    ) as it:
        written, first = await build(it)
        _, second = await build(replace(it, program=embedded.argv))
    assert settled(first) == settled(second)
    schemas = {each.type_name: each.schema for each in provider.resources}
    schemas |= {each.type_name: each.schema for each in provider.data_sources}
    assert schemas.keys() <= {each["type"] for each in written}
    wanted = set[str]().union(*(settable(schema, name) for name, schema in schemas.items()))
    assert wanted <= set[str]().union(*(used(r.get("expressions", {}), r["type"]) for r in written))
