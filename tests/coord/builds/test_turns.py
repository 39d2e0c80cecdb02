"""Turns at Terraform: one at a time for each user, and few of all."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from kled_coord.builds.turns import Turns
from kled_wire.errors import LimitError


async def test_one_user_waits_for_their_own_and_for_nobody_else(autojump_clock) -> None:
    turns, order = Turns(waiting_max=2, at_once=2), []

    async def wait(user: str, seconds: float) -> None:
        async with turns.of(user, "busy", "plans"), turns.running():
            order.append(user)
            await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(wait, "alice", 5)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(LimitError, match="2 plans of yours wait") as caught:
            await wait("alice", 0)
        nursery.start_soon(wait, "bob", 1)
        await trio.testing.wait_all_tasks_blocked()
        assert order == ["alice", "bob"]
    assert caught.value.code == "busy"
    await wait("alice", 0)
