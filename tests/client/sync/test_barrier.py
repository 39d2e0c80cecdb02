"""Which syncs a command waits for, and when they are complete."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kled_client.sync.barrier import incomplete, is_same, syncs_of
from kled_client.sync.place import parse_sync_place
from kled_client.sync.sessions import SessionStore, SyncSession, default_name
from kled_sync.files.root import sync_home
from kled_wire.errors import NotFoundError
from kled_wire.names import parse_workspace_ref


def test_a_flush_is_complete_only_where_both_sides_are_the_same() -> None:
    assert incomplete("s", {"lacking_total": 0, "conflicts_total": 0, "problems_total": 2}) is None
    found = incomplete("s", {"lacking_total": 3, "conflicts_total": 1})
    assert found is not None
    assert (found.code, found.message) == ("sync_incomplete", "3 paths of s could not be copied")


def test_which_syncs_a_command_waits_for(tmp_path: Path) -> None:
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    store = SessionStore(sync_home(env))
    store.add(SyncSession(name="mine", alpha="/x", beta="dev:x"))
    assert syncs_of(env, parse_workspace_ref("dev")) == ["mine"]
    assert syncs_of(env, parse_workspace_ref("alice/dev")) == ["mine"]
    with pytest.raises(NotFoundError):
        syncs_of(env, parse_workspace_ref("other"))
    assert not is_same(parse_workspace_ref("bob/dev"), parse_workspace_ref("alice/dev"))
    here, there = parse_sync_place(str(tmp_path / "my proj")), parse_sync_place("dev:x")
    assert default_name(here, there, []) == "my-proj"
    assert default_name(there, here, ["my-proj"]) == "my-proj-2"
