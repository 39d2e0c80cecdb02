"""What containers print is shown to the workspace's owner, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from kled_coord.api import containers


class Logs:
    """A provider with one container, as far as this route asks it."""

    async def container_output(self, workspace_id: str, name: str, most_bytes: int) -> Any:
        if name == "secret":
            raise PermissionError(13, "Permission denied")
        return f"{workspace_id} \0".encode() if name == "dev" else None


async def test_the_owner_reads_what_a_container_printed(
    api: Any, make_tar: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "load_providers", lambda: (Logs(),))
    me, other = await api.login("boss", "owner"), await api.login("eve", "admin")
    await api.client.post(
        "/api/v1/templates/plain/versions", content=make_tar({"main.tf": b"x"}), headers=me
    )
    body = {"name": "ws", "template": "plain"}
    made = (await api.client.post("/api/v1/workspaces", json=body, headers=me)).json()

    async def read(name: str, who: Any) -> Any:
        return await api.client.get(f"/api/v1/workspaces/ws/containers/{name}/output", headers=who)

    answer = await read("dev", me)
    assert answer.content == f"{made['id']} \0".encode()
    assert answer.headers["x-content-type-options"] == "nosniff"
    missing = await read("gone", me)
    assert (missing.status_code, missing.json()["error"]["code"]) == (
        404,
        "container_output_not_found",
    )
    denied = await read("secret", me)
    assert (denied.status_code, denied.json()["error"]["code"]) == (
        503,
        "container_output_unreadable",
    )
    assert (await read("dev", other)).status_code in {403, 404}
