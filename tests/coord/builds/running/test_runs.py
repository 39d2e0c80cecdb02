"""A state that Terraform could not save: kept as a version, else as a file, never lost."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from kled_coord.builds.running.runs import RESERVE_FILE, RunDirectories, RunDirectory
from kled_coord.builds.transitions import BuildEvent
from kled_coord.store.records import LogLine
from kled_coord.terraform.process.command import ERRORED_STATE_FILE
from kled_coord.terraform.session import WORK_DIRECTORY
from kled_coord.workspaces.lifecycle import Transition
from kled_wire.errors import KledError
from kled_wire.names import parse_workspace_ref
from tests.coord.builds.steps import worker
from tests.kit.small_disk import small_disk, why_no_disk
from tests.kit.trees import make_deep

STATE = b'{"version": 4, "serial": 3, "lineage": "one"}'
THING = (
    b'[{"mode": "managed", "type": "a", "name": "b", "instances": [{"attributes": {"id": "1"}}]}]'
)
OLDER = b'{"version": 4, "serial": 2, "lineage": "one", "resources": ' + THING + b"}"
NEWER = b'{"version": 4, "serial": 4, "lineage": "one"}'


@pytest.fixture
async def alice(lite_world, make_tar):
    admin = await lite_world.user("boss", "admin")
    pushing = lite_world.services.pushing
    await pushing.push(admin, "plain", message="", upload=make_tar({"main.tf": b"x"}))
    return await lite_world.user("alice")


@pytest.fixture
async def created(lite_world, alice):
    version = await lite_world.services.templates.version(alice, "plain", None)
    return await lite_world.services.workspaces.create(
        alice, name="dev", version=version, parameters={}
    )


async def run_next(world) -> None:
    """Let a worker carry out the build that is queued, to its end."""
    await worker(world, world.services.config.data_dir)._run(await world.services.queue.claim("w1"))


async def newest(world, workspace) -> bytes | None:
    """What the next build's Terraform would read."""
    services = world.services
    claimed = await services.queue.claim("reader")
    writer = await services.states.authenticate(workspace.id, claimed.build.id, claimed.secret)
    content = await services.states.read(writer)
    await services.queue.end(claimed.build.id, BuildEvent.FAILED, worker="reader")
    return content


async def start(world, caller):
    return await world.services.builds.create(
        caller, parse_workspace_ref("dev"), Transition.START, version=None, orphan=False
    )


async def log_of(world, caller, build_id) -> list[str]:
    items = await world.services.builds.log(caller, build_id, after=0, follow=False)
    return [item.text async for item in items if isinstance(item, LogLine)]


def kept_files(world) -> list[Path]:
    return sorted((world.services.config.data_dir / "errored-states").glob("*/*"))


def run_directories(world) -> list[Path]:
    return sorted((world.services.config.data_dir / "runs").iterdir())


async def test_a_state_that_terraform_could_not_save_is_the_next_version(
    lite_world, alice, created
) -> None:
    lite_world.terraform.errored_state = STATE
    lite_world.terraform.error = KledError("terraform_failed", "Failed to save state")
    await run_next(lite_world)
    log = await log_of(lite_world, alice, created.latest_build.id)
    assert log[-1] == ("Terraform could not save its state; the coordinator did, as version 1")
    await start(lite_world, alice)
    assert await newest(lite_world, created.workspace) == STATE
    assert kept_files(lite_world) == []
    assert run_directories(lite_world) == []


async def test_a_state_that_was_saved_after_all_is_not_saved_twice(
    lite_world, alice, created
) -> None:
    states, build = lite_world.services.states, created.latest_build
    assert await states.adopt(created.workspace.id, build.id, STATE) == 1
    assert await states.adopt(created.workspace.id, build.id, STATE) == 1
    assert await states.adopt(created.workspace.id, build.id, NEWER) == 2


async def test_a_state_that_names_nothing_else_is_not_kept_aside(
    lite_world, alice, created
) -> None:
    """The build wrote it after all, or somebody has gone on from there: there is no loss."""
    kept = OLDER.replace(b'"serial": 2', b'"serial": 8').replace(b'"id"', b'"more": 1, "id"')
    await lite_world.services.states.adopt(created.workspace.id, created.latest_build.id, kept)
    lite_world.terraform.errored_state = OLDER
    lite_world.terraform.error = KledError("terraform_failed", "Failed to save state")
    await run_next(lite_world)
    assert kept_files(lite_world) == []
    assert run_directories(lite_world) == []
    await start(lite_world, alice)
    assert await newest(lite_world, created.workspace) == kept


@pytest.mark.parametrize("state", [OLDER, b"cut off {", OLDER.replace(b"one", b"two")])
async def test_a_state_that_cannot_be_a_version_is_kept_as_a_file(
    lite_world, alice, created, state
) -> None:
    await lite_world.services.states.adopt(created.workspace.id, created.latest_build.id, STATE)
    lite_world.terraform.errored_state = state
    lite_world.terraform.error = KledError("terraform_failed", "Failed to save state")
    await run_next(lite_world)
    (file,) = kept_files(lite_world)
    assert file.read_bytes() == state
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.name == created.workspace.id
    assert str(file) in (await log_of(lite_world, alice, created.latest_build.id))[-1]
    assert run_directories(lite_world) == []
    await start(lite_world, alice)
    assert await newest(lite_world, created.workspace) == STATE


@pytest.mark.parametrize("saved", [True, False])
async def test_a_program_may_have_nested_directories_deep_into_a_run(
    lite_world, created, saved
) -> None:
    """The directory goes; while no disk takes the state, all of it but the state."""
    services = lite_world.services
    claimed = await services.queue.claim("w1")
    path = await services.runs.make(claimed.build)
    (path / WORK_DIRECTORY).mkdir()
    (path / WORK_DIRECTORY / ERRORED_STATE_FILE).write_bytes(STATE if saved else b"cut off {")
    if not saved:
        (services.config.data_dir / "errored-states").write_text("in the way")
    make_deep(path / "deep")
    make_deep(path / WORK_DIRECTORY / "deep")
    try:
        await services.runs.clear(claimed.build, path)
        left = {file.relative_to(path) for file in path.rglob("*") if file.is_file()}
        assert left == (set() if saved else {Path(WORK_DIRECTORY, ERRORED_STATE_FILE)})
        assert path.exists() == (not saved)
    finally:
        subprocess.run(["rm", "-rf", path], check=True)


async def test_what_no_disk_takes_stays_where_it_is_until_it_can_be_saved(
    lite_world, alice, created
) -> None:
    data_dir = lite_world.services.config.data_dir
    (data_dir / "errored-states").write_text("in the way")
    lite_world.terraform.errored_state = b"cut off {"
    await run_next(lite_world)
    (left,) = run_directories(lite_world)
    # Its values and its plan are in clear, and of no use any more.
    assert [p.name for p in left.rglob("*")] == ["template", "errored.tfstate"]
    (data_dir / "errored-states").unlink()
    await lite_world.services.runs.recover()
    lite_world.clock.advance(11)
    await lite_world.services.runs.recover()
    assert [file.read_bytes() for file in kept_files(lite_world)] == [b"cut off {"]
    assert run_directories(lite_world) == []


async def test_what_is_kept_back_of_a_full_disk_is_given_to_terraform_when_it_needs_it(
    api, created
) -> None:
    """It will write the state to a file as soon as the backend has refused it."""
    services = api.world.services
    claimed = await services.queue.claim("w1")
    directory = await services.runs.make(claimed.build)
    reserve = directory / RESERVE_FILE
    assert reserve.stat().st_blocks * 512 >= 2 << 20
    url = f"/api/v1/tfstate/{created.workspace.id}"
    secret = (claimed.build.id, claimed.secret)
    answer = await api.client.request("LOCK", url, json={"ID": "l"}, auth=secret)
    assert answer.status_code == 200
    assert reserve.exists()
    statement = "ALTER TABLE states RENAME TO away"
    await services.store.write(lambda each: each.exec_driver_sql(statement))
    answer = await api.client.post(url, params={"ID": "l"}, content=STATE, auth=secret)
    assert answer.status_code == 503
    assert not reserve.exists()


@pytest.mark.skipif(bool(why_no_disk()), reason=why_no_disk())
async def test_nothing_is_begun_for_whose_state_there_is_no_room(
    lite_world, alice, created
) -> None:
    data_dir = lite_world.services.config.data_dir
    with small_disk(1) as disk:
        (data_dir / "runs").symlink_to(disk.root)
        await run_next(lite_world)
        assert list(disk.root.iterdir()) == []
    assert lite_world.terraform.jobs == []
    build = await lite_world.services.builds.get(alice, created.latest_build.id)
    assert "No space left on device" in build.error


async def test_a_state_waits_for_the_database_and_goes_before_the_next_build(
    lite_world, alice, created
) -> None:
    """Once the database is back, whoever comes first saves it: the sweep, or the next build."""

    async def rename(before: str, after: str) -> None:
        statement = f"ALTER TABLE {before} RENAME TO {after}"
        await lite_world.services.store.write(lambda each: each.exec_driver_sql(statement))

    lite_world.terraform.while_it_runs = partial(rename, "states", "away")
    lite_world.terraform.errored_state = STATE
    await run_next(lite_world)
    (left,) = run_directories(lite_world)
    assert [p.name for p in left.rglob("*")] == ["template", "errored.tfstate"]
    assert kept_files(lite_world) == []
    lite_world.terraform.errored_state = lite_world.terraform.while_it_runs = None
    await start(lite_world, alice)
    await run_next(lite_world)
    assert run_directories(lite_world) == [left]
    await rename("away", "states")
    await start(lite_world, alice)
    await run_next(lite_world)
    assert run_directories(lite_world) == []
    await start(lite_world, alice)
    assert await newest(lite_world, created.workspace) == STATE


def runs_of_next_process(world) -> RunDirectories:
    services, data_dir = world.services, world.services.config.data_dir
    return RunDirectories(
        store=services.store,
        clock=services.clock,
        monotonic=world.clock.monotonic,
        changes=services.changes,
        states=services.states,
        directory=data_dir / "runs",
        kept=data_dir / "errored-states",
    )


@pytest.mark.parametrize("step_s", [0, 90_000, -90_000])
async def test_a_killed_run_is_recovered_once_its_terraform_is_done(
    lite_world, alice, created, step_s
) -> None:
    """Whatever the wall clock is set to, or was when the files were written."""
    work = (
        await RunDirectory(lite_world.services.runs, created.latest_build).directory() / "template"
    )
    work.mkdir()
    runs = runs_of_next_process(lite_world)
    await runs.recover()
    lite_world.clock.now += timedelta(seconds=step_s)
    await runs.recover()
    assert work.is_dir(), "its Terraform may still be at work"
    (work / "errored.tfstate").write_bytes(STATE)
    await runs.recover()
    lite_world.clock.advance(11)
    (work / "errored.tfstate").write_bytes(STATE + b" ")
    await runs.recover()
    assert work.is_dir(), "the file is still written"
    lite_world.clock.now += timedelta(seconds=step_s)
    await runs.recover()
    assert work.is_dir(), "the file may still be written"
    lite_world.clock.advance(11)
    await lite_world.services.runs.recover()
    assert work.is_dir(), "the run goes on in this process"
    await runs.recover()
    assert run_directories(lite_world) == []
    assert await newest(lite_world, created.workspace) == STATE + b" "


async def test_a_killed_run_without_a_state_is_removed_after_a_day(
    lite_world, alice, created
) -> None:
    await RunDirectory(lite_world.services.runs, created.latest_build).directory()
    runs = runs_of_next_process(lite_world)
    await runs.recover()
    lite_world.clock.advance(86401)
    await runs.recover()
    assert run_directories(lite_world) == []
