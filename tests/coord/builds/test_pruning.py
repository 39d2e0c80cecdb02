"""What is dropped when it is old, and what never is; on both databases."""

from __future__ import annotations

import pytest

from kled_coord.builds.logs import append_line
from kled_coord.builds.pruning import prune
from kled_coord.builds.transitions import BuildEvent
from kled_coord.store.builds import log_after
from kled_coord.store.states import newest_state
from kled_coord.workspaces.lifecycle import Transition
from kled_wire.names import parse_workspace_ref


@pytest.fixture
async def alice(world, make_tar):
    admin = await world.user("boss", "admin")
    await world.services.pushing.push(
        admin, "plain", message="", upload=make_tar({"main.tf": b"x"})
    )
    return await world.user("alice")


async def create(world, caller, name: str):
    version = await world.services.templates.version(caller, "plain", None)
    return await world.services.workspaces.create(caller, name=name, version=version, parameters={})


async def end_with_log(world) -> str:
    """Let the queued build end with a line in its log; returns its id."""
    services = world.services
    claimed = await services.queue.claim("w")
    build = claimed.build
    await append_line(services.store, services.clock, services.changes, build.id, "info", "hi")
    await services.queue.end(build.id, BuildEvent.SUCCEEDED, worker="w")
    return build.id


async def lines(world, build_id: str) -> list[str]:
    return [line.text for line in await world.services.store.read(log_after, build_id, 0, 10)]


async def prune_world(world, *, days: float = 90, states: int = 50) -> None:
    services = world.services
    await prune(services.store, services.clock, logs_keep_days=days, states_keep=states)


async def test_logs_go_by_the_end_of_their_build(world, alice) -> None:
    await create(world, alice, "dev")
    old = await end_with_log(world)
    world.clock.advance(80 * 86400)
    ref = parse_workspace_ref("dev")
    builds = world.services.builds
    await builds.create(alice, ref, Transition.STOP, version=None, orphan=False)
    newer = await end_with_log(world)
    going_on = await builds.create(alice, ref, Transition.START, version=None, orphan=False)
    services = world.services
    await append_line(
        services.store, services.clock, services.changes, going_on.id, "info", "still"
    )
    world.clock.advance(11 * 86400)
    await prune_world(world, days=0)
    assert await lines(world, old) == ["hi"]
    await prune_world(world)
    assert await lines(world, old) == []
    assert await lines(world, newer) == ["hi"]
    world.clock.advance(1000 * 86400)
    await prune_world(world)
    assert await lines(world, newer) == []
    assert await lines(world, going_on.id) == ["still"]
    assert (await builds.get(alice, old)).status == "succeeded"


async def test_the_newest_versions_of_each_state_stay(world, alice) -> None:
    states, store = world.services.states, world.services.store
    both = [await create(world, alice, name) for name in ("one", "two")]
    for number, made in enumerate(both):
        for serial in range(1, 5 + number):
            content = b'{"serial": %d, "lineage": "x"}' % serial
            await states.adopt(made.workspace.id, made.latest_build.id, content)

    async def versions() -> list[list[int]]:
        def read(connection) -> list[list[int]]:
            rows = connection.exec_driver_sql(
                "select workspace_id, version from states order by version"
            ).all()
            return [[v for w, v in rows if w == made.workspace.id] for made in both]

        return await store.read(read)

    await prune_world(world, states=0)
    assert await versions() == [[1, 2, 3, 4], [1, 2, 3, 4, 5]]
    await prune_world(world, states=3)
    assert await versions() == [[2, 3, 4], [3, 4, 5]]
    await prune_world(world, states=1)
    assert await versions() == [[4], [5]]
    assert (await store.read(newest_state, both[1].workspace.id))[0] == 5


async def test_the_audit_log_is_never_pruned(world, alice) -> None:
    before = await world.services.audit.newest(100)
    world.clock.advance(10_000 * 86400)
    await prune_world(world)
    assert await world.services.audit.newest(100) == before != []
