"""What a request keeps open ends with the access it was made with."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from tests.coord.conftest import Api


async def test_a_followed_log_ends_with_the_token_that_follows_it(api: Api, make_tar: Any) -> None:
    services = api.world.services
    root = await api.world.user("root", "owner")
    me = await api.login("alice")
    alice = await services.identity.authenticate(me["Authorization"].removeprefix("Bearer "))
    pushed = await services.pushing.push(root, "t", message="", upload=make_tar({"main.tf": b"#"}))
    await services.workspaces.create(alice, name="dev", version=pushed.version, parameters={})
    claimed = await services.queue.claim("w")
    assert claimed is not None
    url = f"/api/v1/builds/{claimed.build.id}/logs?follow=true"
    with trio.fail_after(10):
        async with api.client.stream("GET", url, headers=me) as answer:
            assert answer.status_code == 200
            await services.identity.revoke(root, alice.token_id)
            with pytest.raises(httpx.RemoteProtocolError):
                await answer.aread()
    again = await api.client.get(url, headers=me)
    assert (again.status_code, again.json()["error"]["code"]) == (401, "token_revoked")
