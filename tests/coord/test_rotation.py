"""A new sealing key: all or nothing, the old one kept, a cut-off rotation finished."""

from __future__ import annotations

import secrets

import pytest
from sqlalchemy import LargeBinary

from kled_coord.rotation import confirm_rotation, old_key_file, rotate_sealing_key
from kled_coord.store.agents import agent_by_name
from kled_coord.store.resealing import SEALED, check_key, reseal_all
from kled_coord.store.schema import metadata
from kled_coord.store.sealing import Sealer, load_sealing_key
from kled_coord.store.states import newest_state
from kled_wire.errors import ConfigError, ConflictError, KledError


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "sealing.key"
    file.write_bytes(bytes(32))  # what the worlds are made with
    return file


@pytest.fixture
async def sealed(world, make_tar):
    """A world with something of everything that is sealed; opens it with a key."""
    admin = await world.user("boss", "admin")
    services = world.services
    await services.pushing.push(admin, "plain", message="", upload=make_tar({"main.tf": b"x"}))
    version = await services.templates.version(admin, "plain", None)
    made = await services.workspaces.create(admin, name="dev", version=version, parameters={})
    workspace_id = made.workspace.id
    agent_id, token = await services.agents.ensure(workspace_id, "main")
    await services.states.adopt(workspace_id, made.latest_build.id, b'{"serial": 1}')

    async def open_with(key: bytes) -> None:
        sealer = Sealer(key, secrets.token_bytes)
        await services.store.read(check_key, sealer)
        _, kept = await services.store.read(agent_by_name, workspace_id, "main")
        assert sealer.open("agent_token", agent_id, kept) == token.encode()
        _, content = await services.store.read(newest_state, workspace_id)
        assert sealer.open("state", f"{workspace_id}/1", content) == b'{"serial": 1}'

    return open_with


def test_no_sealed_column_is_forgotten() -> None:
    binary = {
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary) and column.name.endswith("_sealed")
    }
    assert {f"{each.table.name}.{each.column.name}" for each in SEALED} == binary


async def test_everything_is_sealed_with_a_new_key_and_the_old_one_kept(
    world, sealed, key_file
) -> None:
    store = world.services.store
    assert await rotate_sealing_key(store, key_file, secrets.token_bytes) == 3
    key = load_sealing_key(key_file)
    assert key != bytes(32)
    assert key_file.stat().st_mode & 0o777 == 0o600
    await sealed(key)
    assert load_sealing_key(old_key_file(key_file)) == bytes(32)
    with pytest.raises(KledError):
        await sealed(bytes(32))
    with pytest.raises(ConflictError) as caught:
        await rotate_sealing_key(store, key_file, secrets.token_bytes)
    assert caught.value.code == "rotation_unconfirmed"
    await confirm_rotation(store, key_file, secrets.token_bytes)
    assert not old_key_file(key_file).exists()
    assert await rotate_sealing_key(store, key_file, secrets.token_bytes) == 3
    await sealed(load_sealing_key(key_file))


async def test_a_value_that_cannot_be_opened_changes_nothing(
    world, sealed, key_file, monkeypatch
) -> None:
    store = world.services.store
    real_open = Sealer.open

    def damaged(self, purpose: str, row_id: str, value: bytes) -> bytes:
        return real_open(self, purpose, row_id, value[:-1] if purpose == "state" else value)

    monkeypatch.setattr(Sealer, "open", damaged)
    with pytest.raises(KledError) as caught:
        await rotate_sealing_key(store, key_file, secrets.token_bytes)
    assert caught.value.code == "sealed_unreadable"
    monkeypatch.undo()
    assert load_sealing_key(key_file) == bytes(32)
    assert not old_key_file(key_file).exists()
    await sealed(bytes(32))
    assert await rotate_sealing_key(store, key_file, secrets.token_bytes) == 3


async def test_a_rotation_that_was_cut_off_is_finished(world, sealed, key_file) -> None:
    store, key = world.services.store, secrets.token_bytes(32)
    new_file = key_file.with_name("sealing.key.new")
    new_file.write_bytes(key)
    old, new = (Sealer(each, secrets.token_bytes) for each in (bytes(32), key))
    await store.write(reseal_all, old, new)
    assert await rotate_sealing_key(store, key_file, secrets.token_bytes) == 0
    assert load_sealing_key(key_file) == key
    assert load_sealing_key(old_key_file(key_file)) == bytes(32)
    assert not new_file.exists()
    await sealed(key)


async def test_the_old_key_stays_where_the_new_one_opens_nothing(world, sealed, key_file) -> None:
    store = world.services.store
    await rotate_sealing_key(store, key_file, secrets.token_bytes)
    key_file.write_bytes(bytes(31) + b"x")
    with pytest.raises(KledError):
        await confirm_rotation(store, key_file, secrets.token_bytes)
    assert old_key_file(key_file).exists()


async def test_without_a_key_there_is_nothing_to_rotate(lite_world, tmp_path) -> None:
    with pytest.raises(ConfigError):
        await rotate_sealing_key(
            lite_world.services.store, tmp_path / "none.key", secrets.token_bytes
        )
    assert list(tmp_path.glob("none.key*")) == []
