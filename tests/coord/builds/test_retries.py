"""Retries: the newest build of a workspace, where it failed, again with all that it had."""

from __future__ import annotations

import pytest

from kled_coord.workspaces.lifecycle import Transition
from kled_wire.errors import ConflictError, ForbiddenError, KledError, NotFoundError
from kled_wire.names import parse_workspace_ref
from tests.coord.builds.steps import build, create, log_of, status, working

SECRET = b'variable "size" {}\nvariable "key" {\n  sensitive = true\n}\n'


async def failed_update(world, make_tar, tmp_path):
    """A workspace of version 1 whose update to version 2, with a sensitive value, has failed."""
    admin = await world.user("boss", "admin")
    push = world.services.pushing.push
    await push(admin, "plain", message="", upload=make_tar({"main.tf": b'variable "size" {}'}))
    alice = await world.user("alice")
    created = await create(world, alice)
    await push(admin, "plain", message="", upload=make_tar({"main.tf": SECRET}))
    return alice, created


async def test_a_retry_has_version_and_values_of_what_failed(world, make_tar, tmp_path) -> None:
    alice, created = await failed_update(world, make_tar, tmp_path)
    builds, ref = world.services.builds, created.workspace
    async with working(world, tmp_path):
        await log_of(world, alice, created.latest_build.id)
        world.terraform.error = KledError("terraform_failed", "the cloud is full")
        failed = await build_version(world, alice, 2, size="4", key="hunter2")
        await log_of(world, alice, failed.id)
        assert await status(world, ref) == "failed"
        world.terraform.error = None
        again = await builds.retry(alice, failed.id)
        assert (again.number, again.version) == (3, 2)
        assert (await log_of(world, alice, again.id))[-1].status == "succeeded"
    texts = {name: value.text for name, value in world.terraform.jobs[-1].variables.items()}
    assert texts == {"size": "4", "key": "hunter2"}
    found = (await world.services.workspaces.get(ref.id)).workspace
    assert (found.status, found.template_version) == ("running", 2)


async def test_only_the_newest_build_can_be_retried_and_only_if_it_failed(
    world, make_tar, tmp_path
) -> None:
    alice, created = await failed_update(world, make_tar, tmp_path)
    builds = world.services.builds
    with pytest.raises(ConflictError) as caught:
        await builds.retry(alice, created.latest_build.id)
    assert caught.value.code == "build_not_retryable"
    assert "is pending" in caught.value.message
    async with working(world, tmp_path):
        world.terraform.error = KledError("terraform_failed", "the cloud is full")
        await log_of(world, alice, created.latest_build.id)
        world.terraform.error = None
        stopped = await build(world, alice, "stop")
        await log_of(world, alice, stopped.id)
    with pytest.raises(ConflictError, match="not its newest: that is build 2"):
        await builds.retry(alice, created.latest_build.id)
    with pytest.raises(ConflictError, match="build 2 of dev is succeeded"):
        await builds.retry(alice, stopped.id)


async def test_a_retry_asks_the_policy(world, make_tar, tmp_path) -> None:
    _alice, created = await failed_update(world, make_tar, tmp_path)
    bob, look = await world.user("bob"), await world.user("look", "auditor")
    with pytest.raises(NotFoundError):
        await world.services.builds.retry(bob, created.latest_build.id)
    with pytest.raises(ForbiddenError):
        await world.services.builds.retry(look, created.latest_build.id)


async def build_version(world, caller, version: int, **given: str):
    return await world.services.builds.create(
        caller,
        parse_workspace_ref("dev"),
        Transition.START,
        version=version,
        orphan=False,
        parameters=given,
    )
