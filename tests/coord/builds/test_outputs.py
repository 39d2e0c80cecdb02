"""A template's outputs: kept when a build succeeded, and only then."""

from __future__ import annotations

from kled_wire.errors import KledError
from tests.coord.builds.steps import build, create, log_of, template, working


async def test_outputs_are_those_of_the_last_build_that_succeeded(
    world, make_tar, tmp_path
) -> None:
    await template(world, make_tar)
    alice = await world.user("alice")
    terraform, workspaces = world.terraform, world.services.workspaces
    first = {"url": {"value": "http://é", "sensitive": False}}
    terraform.outputs = first
    created = await create(world, alice)
    assert created.workspace.outputs is None

    async def outputs() -> object:
        return (await workspaces.get(created.workspace.id)).workspace.outputs

    async with working(world, tmp_path):
        await log_of(world, alice, created.latest_build.id)
        assert await outputs() == first
        terraform.outputs, terraform.error = {}, KledError("terraform_failed", "no")
        await log_of(world, alice, (await build(world, alice, "start")).id)
        assert await outputs() == first
        terraform.error = None
        await log_of(world, alice, (await build(world, alice, "stop")).id)
        assert await outputs() == {}
        terraform.outputs = None
        await log_of(world, alice, (await build(world, alice, "start")).id)
        assert await outputs() == {}
