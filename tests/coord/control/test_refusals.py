"""Which refusals are told to whoever waits for an agent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import trio
import trio.testing

from kled_coord.control.refusals import Refusals

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Named:
    """What counts of an agent's record."""

    workspace_id: str
    name: str


async def test_one_of_that_name_since_then_is_told() -> None:
    refusals, found = Refusals(), []
    agent: Any = Named("ws_1", "main")

    async def wait() -> None:
        found.append(await refusals.wait(agent, NOW))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for other, at in (
            (Named("ws_2", "main"), NOW),
            (Named("ws_1", "db"), NOW),
            (agent, NOW - timedelta(seconds=1)),
        ):
            refusals.note(other, "not this one", at)  # type: ignore[arg-type]  # as agent
            await trio.testing.wait_all_tasks_blocked()
            assert found == []
        refusals.note(agent, "too old", NOW)
    assert found == ["too old"]
    assert await refusals.wait(agent, NOW) == "too old"
