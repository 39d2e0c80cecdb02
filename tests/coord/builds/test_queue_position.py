"""The order of the queue, and what is said about it."""

from __future__ import annotations

import pytest
import trio

from kled_coord.builds.logs import BuildProgress
from kled_coord.builds.queue_position import tell_place
from kled_coord.builds.transitions import BuildEvent
from kled_wire.names import parse_workspace_ref
from tests.coord.builds.steps import create, log_of, template


async def queue_all(world, user: str, count: int):
    caller = await world.user(user)
    for number in range(count):
        await create(world, caller, f"{user}-{number}")
        world.clock.advance(1)
    return caller


async def claim_names(world, count: int) -> list[str]:
    names = []
    for _ in range(count):
        claimed = await world.services.queue.claim("w")
        details = await world.services.workspaces.get(claimed.build.workspace_id)
        names.append(details.workspace.name)
    return names


async def test_whoever_queues_many_does_not_keep_others_waiting(world, make_tar) -> None:
    await template(world, make_tar)
    await queue_all(world, "alice", 4)
    await queue_all(world, "bob", 1)
    await queue_all(world, "carol", 2)
    assert await claim_names(world, 7) == [
        "alice-0", "bob-0", "carol-0", "alice-1", "carol-1", "alice-2", "alice-3",
    ]  # fmt: skip
    assert await world.services.queue.claim("w") is None


async def test_what_goes_on_already_counts_and_what_has_ended_does_not(world, make_tar) -> None:
    await template(world, make_tar)
    await queue_all(world, "alice", 5)
    queue = world.services.queue
    running = [(await queue.claim("w")).build for _ in range(2)]
    await queue_all(world, "bob", 2)
    assert await claim_names(world, 2) == ["bob-0", "bob-1"]
    for build in running:
        await queue.end(build.id, BuildEvent.SUCCEEDED, worker="w")
    await queue_all(world, "carol", 1)
    # Both are first of theirs now, and the older one is alice's.
    assert await claim_names(world, 2) == ["alice-2", "carol-0"]


async def test_the_place_is_shown_while_a_build_waits(lite_world, make_tar) -> None:
    world, services = lite_world, lite_world.services
    await template(world, make_tar)
    alice = await queue_all(world, "alice", 3)

    async def positions() -> list[int | None]:
        found = []
        for number in range(3):
            ref = parse_workspace_ref(f"alice-{number}")
            (build,) = await services.builds.list_for(alice, ref)
            found.append(build.queue_position)
        return found

    assert await positions() == [1, 2, 3]
    claimed = await services.queue.claim("w")
    assert await positions() == [None, 1, 2]
    (last,) = await services.builds.list_for(alice, parse_workspace_ref("alice-2"))
    told = await log_of(world, alice, last.id, follow=False)
    assert told == [BuildProgress(done=0, total=0, message=tell_place(2, 2))]
    canceled = await services.builds.cancel(alice, last.id)
    assert canceled.queue_position is None
    await services.queue.end(claimed.build.id, BuildEvent.RELEASED, worker="w")
    assert await positions() == [1, 2, None]


async def test_the_api_tells_the_place(api, make_tar) -> None:
    headers = await api.login("boss", "admin")
    upload = make_tar({"main.tf": b"x"})
    path = "/api/v1/templates/plain/versions"
    assert (await api.client.post(path, headers=headers, content=upload)).status_code == 201
    for name in ("one", "two"):
        body = {"name": name, "template": "plain"}
        made = await api.client.post("/api/v1/workspaces", headers=headers, json=body)
        assert made.status_code == 201
        api.world.clock.advance(1)
    with trio.fail_after(10):
        shown = (await api.client.get("/api/v1/workspaces/two", headers=headers)).json()
    assert shown["latest_build"]["queue"] == {"position": 2, "reason": tell_place(2, 2)}


@pytest.mark.parametrize(
    ("position", "workers", "words"),
    [
        (1, 2, "it is next; 2 builds run at once"),
        (2, 1, "1 build is before it; 1 build runs at once, of users with fewer first"),
        (9, 4, "8 builds are before it; 4 builds run at once, of users with fewer first"),
        (1, 0, "this coordinator runs no builds: its setting workers is 0"),
    ],
)
def test_the_reason_is_a_sentence(position: int, workers: int, words: str) -> None:
    assert tell_place(position, workers) == words
