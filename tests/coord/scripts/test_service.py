"""What agents tell of scripts, kept on both databases, and read as it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
import trio

from kled_coord.scripts.following import Printed, follow_scripts, read_text
from kled_coord.scripts.readiness import AgentReadiness
from kled_coord.store.agents import agents_of
from kled_coord.store.builds import log_after
from kled_coord.store.pruning import prune_logs
from kled_coord.store.records import AgentRecord, ScriptPiece, ScriptRun
from kled_coord.store.scripts import append_script_output, script_pieces, script_runs_of
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.agent_spec import AgentSpec, MetadataItem, Script
from kled_wire.errors import ProtocolError
from kled_wire.names import BuildId
from tests.coord.builds.steps import build, create, template, worker

M = TypeVar("M", bound=messages.Message)

CLONE = Script(id="c", name="clone", script="x", run_on_start=True, blocks_login=True)
BYE = Script(id="b", name="bye", script="x", run_on_stop=True, timeout_s=5)
LOAD = MetadataItem(key="load", display_name="Load", script="x", interval_s=5)
SECRET = "hunter2-hunter2"


@dataclass
class Site:
    """A workspace of alice's that runs, and its one agent."""

    world: Any
    workspace: Any
    agent: AgentRecord
    build_id: BuildId
    tmp_path: Any
    alice: Any

    async def tell(self, *told: messages.Message) -> None:
        for message in told:
            assert await self.world.services.scripts.take(self.agent, message)

    async def connect(self) -> None:
        self.world.registry.connect(self.agent.id, self.world.clock.now)
        await self.world.services.scripts.attached(self.agent, (messages.SCRIPTS_FEATURE,))

    async def runs(self) -> list[ScriptRun]:
        return await self.world.services.store.read(script_runs_of, self.build_id)

    async def text(self) -> bytes:
        (run,) = await self.runs()
        return await read_text(self.world.services.store, run)

    async def readiness(self) -> AgentReadiness:
        (found,) = await self.world.services.agent_wait.readiness(self.workspace.id)
        return found

    def sent(self, kind: type[M]) -> list[M]:
        return [message for _, message in self.world.registry.sent if isinstance(message, kind)]

    async def kept(self, end: int, run: str = "r1") -> None:
        await self.until(
            lambda: messages.OutputKept(run=run, end=end) in self.sent(messages.OutputKept)
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not condition():
                await trio.sleep(0.002)

    def run(self, state: str, run: str = "r1", **more: Any) -> messages.ScriptRunChanged:
        known = {"script": "c", "stage": "start", "build_id": self.build_id}
        return messages.ScriptRunChanged(run=run, state=state, **{**known, **more})


async def _settle(site: Site) -> None:
    """Until everything that was told is written."""
    count = len(site.sent(messages.OutputKept))
    await site.tell(messages.ScriptOutput(run="marker", offset=count, data=b"x", final=True))
    await site.kept(count + 1, "marker")


async def _make_site(world, make_tar, tmp_path, nursery) -> Site:
    services = world.services
    await template(world, make_tar)
    alice = await world.user("alice")
    made = await create(world, alice)
    await worker(world, tmp_path)._run(await services.queue.claim("w1"))
    (agent,) = await services.store.read(agents_of, [made.workspace.id])
    spec = AgentSpec(build_id=made.latest_build.id, scripts=(CLONE, BYE), metadata=(LOAD,))
    await services.specs.save(made.workspace.id, {agent.id: spec})
    nursery.start_soon(services.scripts.serve)
    return Site(world, made.workspace, agent, made.latest_build.id, tmp_path, alice)


@pytest.fixture
async def site(lite_world, make_tar, tmp_path, nursery) -> Site:
    return await _make_site(lite_world, make_tar, tmp_path, nursery)


@pytest.fixture
async def each_site(world, make_tar, tmp_path, nursery) -> Site:
    """On both databases."""
    return await _make_site(world, make_tar, tmp_path, nursery)


async def test_an_agent_is_given_its_spec_and_is_ready_when_its_scripts_are(site: Site) -> None:
    await site.connect()
    (given,) = site.sent(messages.SetSpec)
    assert given.spec.scripts == (CLONE, BYE)
    assert (await site.readiness()).status == "starting"
    await site.tell(site.run("running"), messages.SpecSet(build_id=site.build_id))
    await _settle(site)
    assert (await site.readiness()).waits_for == ("clone",)
    with trio.move_on_after(0.05) as waiting:
        await site.world.services.agent_wait.wait_ready(site.workspace.id, site.alice.user_id)
    assert waiting.cancelled_caught
    async with trio.open_nursery() as nursery:
        wait = site.world.services.agent_wait.wait_ready
        nursery.start_soon(wait, site.workspace.id, site.alice.user_id)
        await trio.testing.wait_all_tasks_blocked()
        await site.tell(site.run("succeeded", exit_code=0, duration_s=float("nan")))
    assert (await site.readiness()).status == "ready"
    site.world.services.scripts.detached(site.agent)
    await site.connect()
    assert (await site.readiness()).status == "starting", "until it has told again"


async def test_an_agent_that_has_not_heard_of_the_newest_build_is_not_ready(site: Site) -> None:
    """It connected while that went on: as its first one, or with what the one before said."""
    services = site.world.services
    await services.specs.save(site.workspace.id, {site.agent.id: AgentSpec(build_id="before")})
    await site.connect()
    await site.tell(messages.SpecSet(build_id="before"))
    await _settle(site)
    newest = AgentSpec(build_id=site.build_id, scripts=(CLONE,))
    await services.specs.save(site.workspace.id, {site.agent.id: newest})
    assert (await site.readiness()).status == "starting"
    services.scripts.live(site.agent.id).spec = None
    assert (await site.readiness()).status == "starting"
    await services.scripts.give(site.workspace.id)
    assert site.sent(messages.SetSpec)[-1].spec == newest
    assert (await site.readiness()).status == "starting"


async def test_a_run_takes_the_place_of_the_one_before_with_what_it_printed(
    each_site: Site,
) -> None:
    site = each_site
    await site.connect()
    await site.tell(site.run("running"), messages.ScriptOutput(run="r1", offset=0, data=b"old"))
    await site.kept(3)
    await site.tell(site.run("failed", exit_code=3, note="why"))
    await site.tell(site.run("running", "r2"))
    await site.tell(messages.ScriptOutput(run="r2", offset=0, data=b"new", final=True))
    await site.kept(3, "r2")
    assert [run.run for run in await site.runs()] == ["r2"]
    assert await site.text() == b"new"
    store = site.world.services.store
    assert await store.read(script_pieces, site.agent.id, "r1", 0, 9) == []


async def test_a_secret_is_hidden_however_it_is_cut(site: Site, monkeypatch) -> None:
    async def secrets(_workspace_id: str) -> tuple[str, ...]:
        return (SECRET,)

    monkeypatch.setattr(site.world.services.scripts, "_secrets", secrets)
    await site.connect()
    await site.tell(site.run("running"))
    await site.tell(messages.ScriptOutput(run="r1", offset=0, data=f"a {SECRET[:9]}".encode()))
    await site.kept(2)
    await site.tell(
        messages.ScriptOutput(run="r1", offset=2, data=f"{SECRET} z\xff".encode("latin-1"))
    )
    await site.kept(2 + len(SECRET) + 3)
    await site.tell(site.run("failed", note=f"said {SECRET}"))
    await _settle(site)
    assert await site.text() == b"a *** z\xff"
    assert [run.note for run in await site.runs()] == ["said ***"]


async def test_head_and_tail_are_kept_and_what_was_cut_is_said(each_site: Site) -> None:
    site = each_site
    await site.connect()
    await site.tell(site.run("running"))
    await _settle(site)
    store, size, offset = site.world.services.store, limits.SCRIPT_CHUNK_BYTES, 0
    for number in range(40):
        piece = ScriptPiece(start=offset, size=size, data=bytes([65 + number]) * size)
        await store.write(append_script_output, site.agent.id, "r1", piece)
        offset += size
    text = await site.text()
    cut = 40 * size - limits.SCRIPT_HEAD_BYTES - limits.SCRIPT_TAIL_BYTES
    head, marker, tail = text.partition(f"\n[... {cut} bytes were cut here ...]\n".encode())
    assert (len(head), len(tail)) == (limits.SCRIPT_HEAD_BYTES, limits.SCRIPT_TAIL_BYTES)
    assert marker
    assert tail[-1] == 65 + 39


async def test_small_pieces_share_a_row_and_what_is_told_twice_is_there_once(
    each_site: Site,
) -> None:
    site = each_site
    await site.connect()
    await site.tell(site.run("running"))
    await _settle(site)
    for start in [0, 1, 2, 1, 3]:
        piece = ScriptPiece(start=start, size=1, data=bytes([97 + start]))
        await site.world.services.store.write(append_script_output, site.agent.id, "r1", piece)
    assert await site.text() == b"abcd"
    rows = await site.world.services.store.read(script_pieces, site.agent.id, "r1", 0, 9)
    assert len(rows) == 1


async def test_a_follower_sees_each_piece_once_and_the_end_after_it(site: Site) -> None:
    await site.connect()
    await site.tell(site.run("waiting"), messages.SpecSet(build_id=site.build_id))
    services, seen = site.world.services, []

    async def is_over(runs: list[ScriptRun]) -> bool:
        details = await services.workspaces.get(site.workspace.id)
        return not await services.script_view.is_starting(details, runs)

    async def follow() -> None:
        async for item in follow_scripts(
            services.store,
            services.changes,
            site.workspace.id,
            site.build_id,
            shows=lambda run: run.stage == "start",
            is_over=is_over,
        ):
            seen.append(  # noqa: PERF401 - each as it comes
                item.data if isinstance(item, Printed) else item.state
            )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await site.until(lambda: seen == ["waiting"])
        await site.tell(messages.ScriptOutput(run="r1", offset=0, data=b"one"))
        await site.kept(3, "r1")
        await site.tell(site.run("running"))
        await site.until(lambda: seen == ["waiting", "running", b"one"])
        await site.tell(
            messages.ScriptOutput(run="r1", offset=3, data=b"two"), site.run("succeeded")
        )
    assert seen == ["waiting", "running", b"one", b"two", "succeeded"]
    seen.clear()
    await follow()
    assert seen == ["running", b"onetwo", "succeeded"], "its end comes last also afterwards"


async def test_what_is_not_the_agents_own_is_not_kept(site: Site) -> None:
    await site.connect()
    await site.tell(
        site.run("running", build_id="bld_of_somebody_else"),
        site.run("running", script="no_such_script"),
        messages.ScriptOutput(run="unknown", offset=0, data=b"x"),
        messages.MetadataFound(key="no_such_key", value="x"),
    )
    await _settle(site)
    assert await site.runs() == []
    assert site.world.services.scripts.live(site.agent.id).metadata == {}


@pytest.mark.parametrize(
    "message",
    [
        messages.ScriptOutput(run="r1", offset=-1, data=b""),
        messages.ScriptOutput(run="r1", offset=0, data=bytes(limits.SCRIPT_CHUNK_BYTES + 1)),
        messages.ScriptOutput(run="../x", offset=0, data=b""),
        messages.ScriptRunChanged(run="r1", build_id="b", script="c", stage="start", state="happy"),
        messages.ScriptRunChanged(
            run="r1", build_id="b", script="c", stage="never", state="running"
        ),
        messages.ScriptRunChanged(
            run="r" * 41, build_id="b", script="c", stage="start", state="running"
        ),
    ],
)
async def test_nonsense_is_refused(site: Site, message: messages.Message) -> None:
    with pytest.raises(ProtocolError):
        await site.tell(message)


async def test_the_newest_metadata_is_known_with_its_time(site: Site) -> None:
    await site.connect()
    await site.tell(messages.MetadataFound(key="load", value="1\x1b[2J", age_s=10.0))
    details = await site.world.services.workspaces.get(site.workspace.id)
    view = (await site.world.services.script_view.of([details]))[site.agent.id]
    ((item, found),) = view.metadata
    assert item == LOAD
    assert found is not None
    assert found.value == "1\ufffd[2J"
    assert found.at == site.world.clock.now - timedelta(seconds=10)


async def test_a_stop_has_its_scripts_run_before_terraform_and_waits_no_longer_than_it_says(
    site: Site, tmp_path
) -> None:
    site.world.services.scripts.stop_answer_s = 0.0
    services = site.world.services
    spec = AgentSpec(build_id=site.build_id, scripts=(replace(BYE, timeout_s=1),))
    await services.specs.save(site.workspace.id, {site.agent.id: spec})
    await site.connect()
    stop = await build(site.world, site.alice, "stop")
    claimed = await services.queue.claim("w1")
    asked = len(site.world.terraform.jobs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker(site.world, tmp_path)._run, claimed)
        await site.until(
            lambda: messages.RunStopScripts(within_s=1.0) in site.sent(messages.RunStopScripts)
        )
        assert len(site.world.terraform.jobs) == asked
        assert (await site.readiness()).status == "shutting_down"
    assert len(site.world.terraform.jobs) == asked + 1
    log = await services.store.read(_log_of, stop.id)
    assert "the agent main did not end its shutdown scripts in time" in log


def _log_of(connection, build_id: str) -> list[str]:
    return [line.text for line in log_after(connection, build_id, 0, 100)]


async def test_a_stop_goes_on_as_soon_as_the_scripts_have_ended(site: Site) -> None:
    await site.connect()
    said: list[str] = []

    async def say(text: str) -> None:
        said.append(text)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.world.services.scripts.stop, site.workspace.id, say)
        await site.until(lambda: bool(site.sent(messages.RunStopScripts)))
        await site.tell(messages.StopScriptsEnded())
    assert said == ["shutdown scripts of the agent main: at most 5 s"]


async def test_runs_go_with_the_log_of_their_build(each_site: Site) -> None:
    site = each_site
    await site.connect()
    await site.tell(site.run("running"), messages.ScriptOutput(run="r1", offset=0, data=b"x"))
    await site.kept(1)
    store = site.world.services.store
    later = site.world.clock.now + timedelta(days=1)
    while await store.write(prune_logs, later, 10):
        pass
    assert await site.runs() == []
    assert await store.read(script_pieces, site.agent.id, "r1", 0, 9) == []
