"""What containers print is shown to the workspace's owner, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from kled_coord.api import containers
from kled_coord.builds.running.secrets import Secrets
from kled_coord.masking import HIDDEN


class Logs:
    """A provider with one container, as far as this route asks it."""

    async def container_output(self, workspace_id: str, name: str, most_bytes: int) -> Any:
        if name == "secret":
            raise PermissionError(13, "Permission denied")
        return f"{workspace_id} \0".encode() if name == "dev" else None

    async def follow_output(self, _id: str, name: str, position: str, most_bytes: int) -> Any:
        if name == "secret":
            raise PermissionError(13, "Permission denied")
        if name == "torn" and position:
            raise OSError(5, "the service went away")
        printed = {"": (b"the s3", "1"), "1": (b"cret-word, then ", "2"), "2": (b"more", "3")}
        return printed.get(position) if name != "gone" else None


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


async def test_what_it_prints_is_followed_until_it_goes_without_secrets(
    api: Any, make_tar: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "load_providers", lambda: (Logs(),))
    monkeypatch.setattr(Secrets, "values", _secret)
    me, other = await api.login("boss", "owner"), await api.login("eve", "admin")
    await api.client.post(
        "/api/v1/templates/plain/versions", content=make_tar({"main.tf": b"x"}), headers=me
    )
    body = {"name": "ws", "template": "plain"}
    await api.client.post("/api/v1/workspaces", json=body, headers=me)

    async def follow(name: str, who: Any) -> Any:
        path = f"/api/v1/workspaces/ws/containers/{name}/output"
        return await api.client.get(path, params={"follow": "true"}, headers=who)

    answer = await follow("dev", me)
    assert answer.text == f"the {HIDDEN}, then more"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await follow("torn", me)).text == "the s3"
    assert (await follow("gone", me)).json()["error"]["code"] == "container_output_not_found"
    assert (await follow("secret", me)).json()["error"]["code"] == "container_output_unreadable"
    assert (await follow("dev", other)).status_code in {403, 404}


async def _secret(*_of: Any) -> list[str]:
    return ["s3cret-word"]
