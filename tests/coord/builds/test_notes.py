"""Notes of a template: kept with each build, shown of the last that succeeded, masked."""

from __future__ import annotations

import json

from kled_wire.errors import KledError
from tests.coord.builds.steps import build, create, log_of, template, worker


def _state(serial: int, value: str) -> bytes:
    def resource(kind: str, values: dict[str, object]) -> dict[str, object]:
        instances = [{"attributes": values}]
        return {"mode": "managed", "type": kind, "name": "x", "instances": instances}

    items = [{"key": "size", "value": value, "sensitive": False}]
    note = {"id": "m", "resource_id": "n", "item": items, "daily_cost": 2}
    resources = [resource("null_resource", {"id": "n"}), resource("kled_metadata", note)]
    return json.dumps({"lineage": "l", "serial": serial, "resources": resources}).encode()


async def test_notes_are_those_of_the_last_build_that_succeeded(
    lite_world, make_tar, tmp_path
) -> None:
    world, services = lite_world, lite_world.services
    await template(world, make_tar)
    alice = await world.user("alice")
    made = await create(world, alice)

    async def shown() -> list[object]:
        found = await services.workspaces.notes(made.workspace.id)
        return [note["items"][0]["value"] for note in found]

    async def run(build_id: str, serial: int, value: str) -> str:
        await services.states.adopt(made.workspace.id, build_id, _state(serial, value))
        await worker(world, tmp_path)._run(await services.queue.claim("w1"))
        return str(await log_of(world, alice, build_id))

    assert await shown() == []
    told = await run(made.latest_build.id, 1, "small")
    assert "null_resource.x: size small, costs 2 a day" in told
    assert await shown() == ["small"]
    world.terraform.error = KledError("terraform_failed", "no")
    await run((await build(world, alice, "start")).id, 2, "failed")
    assert await shown() == ["small"]
    world.terraform.error = None
    await run((await build(world, alice, "stop")).id, 3, "stopped")
    assert await shown() == ["stopped"]
    (note,) = await services.builds.notes(made.latest_build)
    assert note["items"][0]["value"] == "small"
