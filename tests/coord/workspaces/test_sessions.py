"""Who sees which connections."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kled_coord.store.filters import SessionFilter
from kled_wire.errors import ForbiddenError
from kled_wire.names import parse_workspace_ref
from tests.coord.builds.steps import create, template


async def test_connections_are_filtered_and_everybody_sees_their_own(world, make_tar) -> None:
    await template(world, make_tar)
    alice, bob = await world.user("alice"), await world.user("bob")
    auditor = await world.user("log", "auditor")
    sessions, began = world.services.sessions, world.clock()
    for caller, name, kind in ((alice, "web", "ssh"), (bob, "db", "ssh"), (alice, "api", "tcp")):
        made = await create(world, caller, name)
        opened = await sessions.opened(
            workspace_id=made.workspace.id, user_id=caller.user_id, kind=kind, client_address="::1"
        )
        world.clock.advance(60)
    await sessions.closed(opened, bytes_to_agent=1, bytes_to_client=2, reason="client_closed")

    async def names(caller, **wanted):
        found = await sessions.newest(caller, SessionFilter(**wanted), 10)
        return [row.workspace for row in found]

    assert await names(auditor) == ["api", "db", "web"]
    assert await names(alice) == ["api", "web"]
    assert await names(alice, user="bob") == []
    assert await names(auditor, user="bob") == ["db"]
    assert await names(auditor, workspace=parse_workspace_ref("db")) == ["db"]
    assert await names(auditor, workspace=parse_workspace_ref(made.workspace.id)) == ["api"]
    assert await names(auditor, workspace=parse_workspace_ref("bob/db")) == ["db"]
    assert await names(auditor, workspace=parse_workspace_ref("alice/db")) == []
    assert await names(auditor, kind="ssh") == ["db", "web"]
    assert await names(auditor, open=True) == ["db", "web"]
    assert await names(auditor, open=False) == ["api"]
    assert await names(auditor, since=began + timedelta(seconds=60)) == ["api", "db"]
    assert await names(auditor, until=began + timedelta(seconds=60)) == ["web"]
    (row,) = await sessions.newest(auditor, SessionFilter(open=False), 10)
    assert (row.owner, row.user_name, row.reason) == ("alice", "alice", "client_closed")
    assert (row.bytes_to_agent, row.bytes_to_client) == (1, 2)
    user = await world.services.users.get(auditor, "alice")
    with pytest.raises(ForbiddenError, match="scope"):
        await names(world.caller(user, scopes=("ssh",)))
