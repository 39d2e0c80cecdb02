"""Which agent a workspace's name means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kled_coord.store.records import AgentRecord
from kled_coord.workspaces.choice import choose_agent
from kled_wire.errors import ConflictError, NotFoundError, UnavailableError
from kled_wire.names import AgentId, WorkspaceId


def agent(name: str, position: int = 0) -> AgentRecord:
    return AgentRecord(
        id=AgentId(f"agt_{name}"),
        workspace_id=WorkspaceId("ws_1"),
        name=name,
        host_public_key=None,
        version=None,
        hostname=None,
        os=None,
        arch=None,
        address=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        last_seen_at=None,
        revoked_at=None,
        environment=None,
        directory=None,
        position=position,
    )


@pytest.mark.parametrize(
    ("names", "chosen"),
    [(["main"], "main"), (["gpu"], "gpu"), (["db", "main"], "main"), (["main", "db"], "main")],
)
def test_main_comes_first_else_the_only_one(names: list[str], chosen: str) -> None:
    assert choose_agent([agent(name) for name in names]).name == chosen


def test_none_of_several_is_taken_by_chance() -> None:
    with pytest.raises(ConflictError, match=r"2 agents .* main .*: db, web") as caught:
        choose_agent([agent("web"), agent("db")])
    assert caught.value.code == "agent_ambiguous"


def test_a_long_list_is_cut() -> None:
    with pytest.raises(ConflictError, match=r"a09 and 20 more"):
        choose_agent([agent(f"a{number:02}") for number in range(30)])


def test_without_agents_there_is_none() -> None:
    with pytest.raises(UnavailableError) as caught:
        choose_agent([])
    assert caught.value.code == "agent_never_started"


def test_without_a_main_the_lowest_order_is_meant() -> None:
    assert choose_agent([agent("web", 2), agent("db", 1), agent("x", 2)]).name == "db"
    assert choose_agent([agent("db", 1), agent("main", 5)]).name == "main"
    with pytest.raises(ConflictError, match="lowest order: db, web, x"):
        choose_agent([agent("web", 1), agent("db", 1), agent("x", 2)])


def test_who_is_asked_for_is_meant_and_nobody_else() -> None:
    agents = [agent("main"), agent("db")]
    assert choose_agent(agents, "db").name == "db"
    with pytest.raises(NotFoundError, match="no agent web") as caught:
        choose_agent(agents, "web")
    assert caught.value.hint == "it has db, main"
