"""Requests at random for every operation of the OpenAPI document: none brings about a 500."""

from __future__ import annotations

import random

import httpx
import pytest
import trio

from kled_coord.builds.transitions import BuildEvent
from tests.coord.api.test_api import workspace
from tests.kit.openapi import OddRequest, requests_of

# What would wait, or stream for as long as a build goes on.
_PATIENT = {"timeout_s": "0", "follow": "false"}
# Each ends the login of whoever asks, who then is only refused.
_LEAVE_OUT = ("/auth/logout", "/end-streams", "/users/me")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_request_brings_about_a_500(api, make_tar, seed: int) -> None:
    me, made = await workspace(api, make_tar)
    callers = [me, await api.login("root", "owner")]
    queue = api.world.services.queue
    await queue.claim("w1")
    await queue.end(made["latest_build"]["id"], BuildEvent.SUCCEEDED, worker="w1", outputs={})
    chance = random.Random(seed)
    document = (await api.client.get("/api/openapi.json")).json()
    known = {"ref": made["id"], "build_id": made["latest_build"]["id"], "name": "plain", **_PATIENT}
    found: list[str] = []
    for request in requests_of(document, chance, known, times=10):
        if not any(part in request.target for part in _LEAVE_OUT):
            answer = await send(api, chance.choice(callers), request)
            if answer is not None and answer.status_code >= 500 and answer.status_code != 503:
                found.append(f"{request} -> {answer.status_code} {answer.text[:200]}")
    assert found == []


async def send(api, me: dict[str, str], request: OddRequest) -> httpx.Response | None:
    """None where it has to be waited for longer."""
    headers = me | ({} if request.content is None else {"Content-Type": "application/json"})
    with trio.move_on_after(5):
        return await api.client.request(
            request.method, request.target, content=request.content, headers=headers
        )
    return None
