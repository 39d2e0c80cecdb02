"""Processes on this machine: started, found again, told apart, ended."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from kled_provider.host import HostError
from kled_provider.kled.processes import launcher
from kled_provider.kled.processes import running as processes
from kled_provider.kled.processes.running import ProcessDirectory, ProcessSpec, Running
from tests.kit.processes import is_alive, running
from tests.kit.trees import make_deep

pytestmark = pytest.mark.slow

SLEEP = ProcessSpec(argv=("/bin/sleep", "300"), env={"SECRET": "s3"})
# Says when it is ready, so that no test has to guess.
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True)"


SLOW_TO_END = """
import signal, time
def end(*_):
    print("told", flush=True)
    time.sleep(1)
    raise SystemExit
signal.signal(15, end)
print("ready", flush=True)
time.sleep(300)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def python(script: str) -> ProcessSpec:
    return ProcessSpec(argv=(sys.executable, "-c", script), env={})


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def open_files(pid: int) -> dict[str, str]:
    return {path.name: str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}


def environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


async def wait_log(place: ProcessDirectory, text: str) -> None:
    with trio.fail_after(10):
        while text not in place.log.read_text():
            await trio.sleep(0.01)


async def test_a_process_stands_alone(place: ProcessDirectory) -> None:
    running = await processes.start(place, SLEEP, "g")
    assert os.getsid(running.pid) == running.pid
    assert status(running.pid)["PPid"] != str(os.getpid())
    assert int(status(running.pid)["SigIgn"], 16) == 0
    log = str(place.log)
    assert open_files(running.pid) == {"0": "/dev/null", "1": log, "2": log}
    assert [mode(p) for p in (place.directory, place.record, place.log)] == [0o700, 0o600, 0o600]
    assert "s3" not in place.record.read_text()


async def test_an_agent_finds_its_own_state_directory_and_the_programs_last(
    place: ProcessDirectory,
) -> None:
    running = await processes.start(place, SLEEP, "g")
    variables = dict(v.split("=", 1) for v in environment(running.pid).rstrip("\0").split("\0"))
    assert variables["KLED_AGENT_STATE_DIR"] == str(place.directory / "agent.state")
    assert variables["PATH"].split(":")[-1] == str(Path(sys.executable).parent)


async def test_the_same_program_is_adopted_and_another_replaces_it(place: ProcessDirectory) -> None:
    first = await processes.start(place, SLEEP, "g")
    assert await processes.start(place, SLEEP, "g") == first
    other = await processes.start(place, ProcessSpec(argv=SLEEP.argv, env={"SECRET": "new"}), "g")
    assert other.pid != first.pid
    assert launcher.start_mark(first.pid) is None


async def test_whoever_adopts_it_has_it(place: ProcessDirectory) -> None:
    first = await processes.start(place, SLEEP, "one")
    assert await processes.start(place, SLEEP, "two") == replace(first, generation="two")
    assert processes.find(place) == replace(first, generation="two")


async def test_two_that_start_at_once_have_one_process(place: ProcessDirectory) -> None:
    found: list[Running] = []

    async def start(generation: str) -> None:
        found.append(await processes.start(place, SLEEP, generation))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start, "one")
        nursery.start_soon(start, "two")
    assert len({running.pid for running in found}) == 1
    assert processes.find(place) == found[-1]


async def test_one_that_was_told_to_end_is_not_adopted(place: ProcessDirectory) -> None:
    program = python(SLOW_TO_END)
    first = await processes.start(place, program, "one")
    await wait_log(place, "ready")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(processes.stop, place, first)
            await wait_log(place, "told")
            scope.cancel()
    ending = processes.find(place)
    assert ending is not None
    assert ending.is_ending
    second = await processes.start(place, program, "two")
    assert not is_alive(first.pid)
    assert processes.find(place) == second


async def test_a_record_of_an_earlier_version_is_read(place: ProcessDirectory) -> None:
    running = await processes.start(place, SLEEP, "g")
    record = json.loads(place.record.read_text())
    del record["generation"]
    place.record.write_text(json.dumps(record))
    assert processes.find(place) == replace(running, generation="")


async def test_a_pid_used_by_another_program_is_not_ours(place: ProcessDirectory) -> None:
    await processes.start(place, SLEEP, "g")
    record = json.loads(place.record.read_text())
    ours = processes.find(place)
    place.record.write_text(json.dumps({**record, "start_mark": "1"}))
    assert processes.find(place) is None
    assert ours is not None
    os.killpg(ours.pid, signal.SIGKILL)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', '{"pid": null}'])
def test_a_damaged_record_names_no_process(place: ProcessDirectory, text: str) -> None:
    place.directory.mkdir()
    place.record.write_text(text)
    assert processes.find(place) is None


async def test_a_dead_process_is_not_found(place: ProcessDirectory) -> None:
    running = await processes.start(place, SLEEP, "g")
    os.kill(running.pid, signal.SIGKILL)
    await processes.wait_end(running)
    assert processes.find(place) is None


async def test_stop_ends_the_whole_group(place: ProcessDirectory) -> None:
    running = await processes.start(
        place, ProcessSpec(argv=("/bin/sh", "-c", "sleep 300 & echo $!; wait"), env={}), "g"
    )
    await wait_log(place, "\n")
    child = int(place.log.read_text())
    mark = launcher.start_mark(child)
    assert mark is not None
    await processes.stop(place, running)
    assert launcher.start_mark(running.pid) is None
    with trio.fail_after(10):
        await processes.wait_end(replace(running, pid=child, start_mark=mark))
    assert not place.record.exists()


async def test_a_process_that_ignores_sigterm_is_killed(place: ProcessDirectory) -> None:
    running = await processes.start(place, python(f"{STUBBORN}; time.sleep(300)"), "g")
    await wait_log(place, "ready")
    await processes.stop(place, running, terminate_s=0.1)
    assert launcher.start_mark(running.pid) is None


async def test_stopping_what_has_ended_is_fine(place: ProcessDirectory) -> None:
    await processes.stop(
        place, Running(pid=2**22 - 1, start_mark="1", started_at=0, fingerprint="")
    )


@pytest.mark.parametrize(
    ("program", "message", "hint"),
    [
        (ProcessSpec(argv=("/no/such",), env={}), "Could not start /no/such", "No such file"),
        (ProcessSpec(argv=("/bin/sleep",), env={}, directory="/no"), "Could not start", "'/no'"),
        (ProcessSpec(argv=("/bin/sleep",), env={}, user="nobody-here"), "no user nobody-here", ""),
    ],
)
async def test_a_failed_start_says_why_and_leaves_no_record(
    place: ProcessDirectory, program: ProcessSpec, message: str, hint: str
) -> None:
    with pytest.raises(HostError, match=message) as caught:
        await processes.start(place, program, "g")
    assert hint in (caught.value.hint or "")
    assert not place.record.exists()


async def test_a_program_that_ends_at_once_is_told(place: ProcessDirectory) -> None:
    """Whichever comes first, its end or our look at it, nothing is left behind."""
    with contextlib.suppress(HostError):
        running = await processes.start(place, python("raise SystemExit('bad configuration')"), "g")
        await processes.wait_end(running)
    assert processes.find(place) is None
    assert "bad configuration" in place.log.read_text()


async def test_a_large_log_is_moved_aside(place: ProcessDirectory) -> None:
    place.directory.mkdir()
    with place.log.open("wb") as log:
        log.truncate(processes.MAX_LOG_BYTES + 1)
    await processes.start(place, SLEEP, "g")
    assert place.log.read_bytes() == b""
    assert place.log.with_suffix(".log.1").stat().st_size == processes.MAX_LOG_BYTES + 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the user")
async def test_root_starts_it_as_another_user(place: ProcessDirectory, tmp_path: Path) -> None:
    running = await processes.start(
        place, ProcessSpec(argv=("/bin/sleep", "300"), env={}, user="nobody", directory="/"), "g"
    )
    assert set(status(running.pid)["Uid"].split()) != {"0"}
    assert "USER=nobody" in environment(running.pid)
    await processes.stop(place, running)


def give(directory: Path, user: pwd.struct_passwd) -> None:
    for path in (directory, *directory.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the user")
async def test_root_follows_no_links_of_the_user(
    place: ProcessDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way to what root removes for a user there may be links of the user's."""
    victim = tmp_path / "victim" / "sessions"
    victim.mkdir(parents=True)
    (victim / "precious").write_text("x")
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to others
        home = Path(name)
        state = home / ".local/state/kled-agent" / place.directory.name
        state.mkdir(parents=True)
        nobody = pwd.getpwnam("nobody")
        entry = pwd.struct_passwd((*nobody[:5], name, "/bin/sh"))
        monkeypatch.setattr(pwd, "getpwnam", lambda _name: entry)
        (state / place.name).symlink_to(victim.parent)
        give(home, nobody)
        await processes.forget_sessions(place, "nobody")
        assert (victim / "precious").exists()
        (state / place.name).unlink()
        own = state / place.name / "sessions" / "dev"
        own.mkdir(parents=True)
        give(home, nobody)
        await processes.forget_sessions(place, "nobody")
        assert not own.parent.exists()


async def test_sessions_in_which_somebody_has_nested_directories_deep_are_removed(
    place: ProcessDirectory,
) -> None:
    sessions = processes._state_directory(place, None) / "sessions"
    sessions.mkdir(parents=True)
    make_deep(sessions / "dev")
    try:
        await processes.forget_sessions(place, None)
        assert not sessions.exists()
    finally:  # pytest could not remove it either
        subprocess.run(["rm", "-rf", sessions], check=True)


def test_the_start_mark_by_ps_tells_live_from_dead() -> None:
    assert launcher._start_mark_by_ps(os.getpid())
    assert launcher._start_mark_by_ps(2**22 - 1) is None


# Namespaces alone: what is seen in them is the coordinator's matter (tests/coord/sandbox).
WRAPPER = (
    *("bwrap", "--dev-bind", "/", "/", "--proc", "/proc", "--unshare-pid"),
    *("--die-with-parent", "--"),
)
# What leaves the group and the session of its starter, and says its pid as everybody else sees it.
WITH_CHILD = """
import os, signal, subprocess, sys
def end(*_): print("told to end", flush=True); sys.exit()
signal.signal(signal.SIGTERM, end)
subprocess.Popen(["sleep", sys.argv[1]], start_new_session=True)
print("ready", flush=True)
while True: signal.pause()
"""


def confined(place: ProcessDirectory) -> ProcessSpec:
    mark = f"300.{os.getpid()}"
    return ProcessSpec(argv=(sys.executable, "-c", WITH_CHILD, mark), env={}, wrapper=WRAPPER)


def left() -> list[int]:
    return [process.pid for process in running(f"300.{os.getpid()}")]


async def none_left() -> None:
    """Only a namespace's first process is waited for; the kernel ends the others after it."""
    with trio.fail_after(10):
        while left():
            await trio.sleep(0.01)


async def test_a_confined_process_is_told_to_end_and_nothing_of_it_is_left(
    place: ProcessDirectory,
) -> None:
    running = await processes.start(place, confined(place), "")
    await wait_log(place, "ready")
    assert len(left()) >= 2
    await processes.stop(place, running)
    assert place.log.read_text().splitlines() == ["ready", "told to end"]
    await none_left()


async def test_a_confined_process_ends_with_its_wrapper(place: ProcessDirectory) -> None:
    running = await processes.start(place, confined(place), "")
    await wait_log(place, "ready")
    os.kill(running.pid, signal.SIGKILL)
    await none_left()
    assert processes.find(place) is None


async def test_a_process_that_is_to_be_confined_replaces_one_that_was_not(
    place: ProcessDirectory,
) -> None:
    program = confined(place)
    first = await processes.start(place, replace(program, wrapper=()), "")
    await wait_log(place, "ready")
    second = await processes.start(place, program, "")
    assert second.pid != first.pid
    assert launcher.start_mark(first.pid) is None
    # The wrapper itself varies, with what there is to hide: that is no reason to start anew.
    again = replace(program, wrapper=(*WRAPPER[:-1], "--unshare-ipc", "--"))
    assert (await processes.start(place, again, "")).pid == second.pid
    for pid in left():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_what_a_confined_process_may_write_is_made_for_it(place: ProcessDirectory) -> None:
    script = "import os; print(sorted(os.listdir(os.environ['D'])), flush=True)"
    program = replace(python(script), env={"D": str(place.directory)}, wrapper=WRAPPER)
    with contextlib.suppress(HostError):  # it may have ended by then
        await processes.start(place, program, "")
    await wait_log(place, "agent.home")
    made = processes.writable(place, None)
    assert {mode(Path(outside)) for outside in made.values()} == {0o700}
    assert set(made) == {"/tmp", processes.home(None), str(place.directory / "agent.state")}
