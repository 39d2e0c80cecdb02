"""Notes of when agents connect and leave share transactions."""

from __future__ import annotations

import trio
import trio.testing

from kled_coord.store.agents import agents_of
from kled_coord.store.engine import Store
from kled_coord.workspaces.sightings import Sighting, Sightings
from tests.coord.builds.steps import create, template


class GatedStore(Store):
    """Counts writes, and lets each begin when the gate is open."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.engine, store.engine)
        self.gate = trio.Event()
        self.writes = 0

    async def write(self, query, *args, **kwargs):
        self.writes += 1
        await self.gate.wait()
        return await super().write(query, *args, **kwargs)


async def test_agents_that_connect_at_one_time_share_a_transaction(world, make_tar) -> None:
    await template(world, make_tar)
    created = await create(world, await world.user("alice"))
    services, store = world.services, GatedStore(world.services.store)
    ids = [(await services.agents.ensure(created.workspace.id, f"a{n}"))[0] for n in range(30)]
    sightings = Sightings(store)

    def sighting(agent_id, **said) -> Sighting:
        return Sighting(agent_id=agent_id, at=world.clock(), connected=True, values=said)

    async with trio.open_nursery() as nursery:
        for agent_id in ids:
            nursery.start_soon(sightings.note, sighting(agent_id, hostname=f"of {agent_id}"))
        await trio.testing.wait_all_tasks_blocked()
        assert store.writes == 1
        store.gate.set()
    assert store.writes <= 2
    found = await services.store.read(agents_of, [created.workspace.id])
    assert {agent.hostname for agent in found} == {f"of {agent_id}" for agent_id in ids}
    assert {agent.last_seen_at for agent in found} == {world.clock()}
    await sightings.note(sighting(ids[0], hostname="again"))  # alone: at once
    found = await services.store.read(agents_of, [created.workspace.id])
    assert "again" in {agent.hostname for agent in found}


async def test_what_a_cancelled_caller_was_to_write_the_next_one_writes(world, make_tar) -> None:
    await template(world, make_tar)
    created = await create(world, await world.user("alice"))
    services, store = world.services, GatedStore(world.services.store)
    ids = [(await services.agents.ensure(created.workspace.id, name))[0] for name in "abc"]
    sightings = Sightings(store)

    def sighting(agent_id) -> Sighting:
        said = {"hostname": f"of {agent_id}"}
        return Sighting(agent_id=agent_id, at=world.clock(), connected=True, values=said)

    async def note_and_be_cancelled(agent_id, scope: trio.CancelScope) -> None:
        with scope:
            await sightings.note(sighting(agent_id))

    first, second = trio.CancelScope(), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(note_and_be_cancelled, ids[0], first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(note_and_be_cancelled, ids[1], second)
        nursery.start_soon(sightings.note, sighting(ids[2]))
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()  # the second or the third begins to write
        await trio.testing.wait_all_tasks_blocked()
        second.cancel()
        await trio.testing.wait_all_tasks_blocked()
        store.gate.set()
    found = await services.store.read(agents_of, [created.workspace.id])
    assert {agent.hostname for agent in found} == {f"of {agent_id}" for agent_id in ids}
