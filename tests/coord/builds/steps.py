"""What the tests of builds do with a world: push a template, create, build, read a log."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio

from kled_coord.app import make_jobs
from kled_coord.builds.running.jobs import Places
from kled_coord.builds.running.worker import Worker
from kled_coord.workspaces.lifecycle import Transition
from kled_wire.names import parse_workspace_ref


def worker(world, tmp_path, name: str = "w1") -> Worker:
    services = world.services
    places = Places(
        bundles=world.services.bundles,
        access_url="http://coord",
        state_url="http://local",
        processes=tmp_path / "processes",
    )
    return Worker(
        store=services.store,
        clock=services.clock,
        queue=services.queue,
        changes=services.changes,
        runner=services.run_build,
        runs=services.runs,
        jobs=make_jobs(services, places),
        name=name,
    )


@asynccontextmanager
async def working(world, tmp_path):
    draining = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker(world, tmp_path).serve, draining)
        yield
        nursery.cancel_scope.cancel()


async def template(world, make_tar) -> None:
    admin = await world.user("boss", "admin")
    await world.services.pushing.push(
        admin, "plain", message="", upload=make_tar({"main.tf": b'variable "size" {}'})
    )


async def create(world, caller, name: str = "dev"):
    version = await world.services.templates.version(caller, "plain", None)
    return await world.services.workspaces.create(
        caller, name=name, version=version, parameters={"size": "2"}
    )


async def alices_workspace(world, make_tar):
    """Push a template and create the workspace dev of it: its owner, and the workspace."""
    await template(world, make_tar)
    alice = await world.user("alice")
    return alice, await create(world, alice)


async def build(world, caller, transition: str, name: str = "dev", *, orphan: bool = False):
    return await world.services.builds.create(
        caller, parse_workspace_ref(name), Transition(transition), version=None, orphan=orphan
    )


async def log_of(world, caller, build_id, *, after: int = 0, follow: bool = True):
    items = await world.services.builds.log(caller, build_id, after=after, follow=follow)
    return [item async for item in items]


async def status(world, workspace) -> str:
    return (await world.services.workspaces.get(workspace.id)).workspace.status
