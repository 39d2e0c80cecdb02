"""Builds that are cancelled: the first time cleanly, by force when somebody says so."""

from __future__ import annotations

import trio
import trio.testing

from kled_coord.builds.queue import Queue
from kled_coord.changes import Changes, cancel_key
from kled_coord.metrics import Metrics
from tests.coord.builds.steps import alices_workspace, log_of, status, working


async def test_a_second_cancel_still_lets_terraform_stop_and_force_does_not(
    lite_world, make_tar, tmp_path
) -> None:
    world, builds = lite_world, lite_world.services.builds
    alice, created = await alices_workspace(world, make_tar)
    world.terraform.hang = world.terraform.stubborn = True
    build_id = created.latest_build.id
    with trio.fail_after(30):
        async with working(world, tmp_path):
            await world.terraform.started.wait()
            for _ in range(2):
                assert (await builds.cancel(alice, build_id)).status == "canceling"
                await world.terraform.stopping.wait()
                # As long as it takes to renew a lease: time for a mistake to show.
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert not world.terraform.jobs[0].forced.is_set()
            await builds.cancel(alice, build_id, force=True)
            log = await log_of(world, alice, build_id)
    assert log[-1].status == "canceled"
    assert await status(world, created.workspace) == "canceled"


async def test_force_alone_cancels_too(lite_world, make_tar, tmp_path) -> None:
    world, builds = lite_world, lite_world.services.builds
    alice, created = await alices_workspace(world, make_tar)
    world.terraform.hang = world.terraform.stubborn = True
    with trio.fail_after(30):
        async with working(world, tmp_path):
            await world.terraform.started.wait()
            await builds.cancel(alice, created.latest_build.id, force=True)
            log = await log_of(world, alice, created.latest_build.id)
    assert log[-1].status == "canceled"


async def test_a_build_that_waits_is_canceled_at_once(lite_world, make_tar) -> None:
    world = lite_world
    alice, created = await alices_workspace(world, make_tar)
    canceled = await world.services.builds.cancel(alice, created.latest_build.id, force=True)
    assert canceled.status == "canceled"
    assert await world.services.queue.claim("w") is None


async def test_force_reaches_the_process_that_runs_the_build(
    lite_world, make_tar, tmp_path
) -> None:
    world, services = lite_world, lite_world.services
    elsewhere = Queue(
        store=services.store,
        clock=services.clock,
        monotonic=world.clock.monotonic,
        ids=services.ids,
        changes=Changes(),
        registry=world.registry,
        metrics=Metrics(),
    )
    alice, created = await alices_workspace(world, make_tar)
    world.terraform.hang = world.terraform.stubborn = True
    build_id = created.latest_build.id
    with trio.fail_after(30):
        async with working(world, tmp_path):
            await world.terraform.started.wait()
            await elsewhere.cancel(build_id, force=True)
            # Stands for RENEW_S, after which the worker renews its lease.
            services.changes.notify(cancel_key(build_id))
            log = await log_of(world, alice, build_id)
    assert log[-1].status == "canceled"
