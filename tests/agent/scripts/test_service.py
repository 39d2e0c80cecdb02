"""Scripts that really run, told to a fake coordinator over a real WebSocket."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
import trio.testing

from kled_wire.control import messages
from kled_wire.control.agent_spec import AgentSpec, MetadataItem
from tests.agent.scripts.serving import Running, Told, script


async def test_a_script_runs_in_a_login_environment_and_is_told(running: Running) -> None:
    text = 'echo "$FROM_PROFILE $KLED_WORKSPACE $(cat)"; printf "\\033[1mno end" >&2; exit 3'
    async with running(script("a", text)) as told:
        run = await told.ended("a")
        assert told.states("a") == ["waiting", "running", "failed"]
        assert (run.exit_code, run.stage, run.build_id) == (3, "start", "bld_1")
        assert run.started_at > 0
        assert run.duration_s > 0
        assert told.output("a") == b"yes dev \n\x1b[1mno end"
        assert messages.SpecSet(build_id="bld_1") in told.heard


async def test_the_coder_command_is_last_on_the_path_and_does_what_modules_ask(
    running: Running,
) -> None:
    text = "coder exp sync ping && coder stat mem && command -v coder; coder ssh x"
    async with running(script("a", text)) as told:
        run = await told.ended("a")
        first, second, third, last = told.output("a").decode().splitlines()
        assert (first, run.exit_code) == ("Success", 1)
        assert "GiB" in second
        assert third.endswith("/place/lib/coder")
        assert last.startswith("coder: in a Kled workspace it does stat")


async def test_no_token_is_in_its_environment_and_our_places_are(running: Running) -> None:
    text = 'env; echo "tool" >"$CODER_SCRIPT_BIN_DIR/tool"; ls -d "$CODER_SCRIPT_DATA_DIR"'
    async with running(script("a", text)) as told:
        assert (await told.ended("a")).exit_code == 0
        printed = told.output("a").decode()
        assert "kled_agent_secret" not in printed
        path = next(line for line in printed.splitlines() if line.startswith("PATH="))
        assert path.endswith("/place/bin:" + path.rpartition(":")[2])
        assert path.endswith("/place/lib")
        assert path.startswith("PATH=/usr/bin:/bin:"), "as the profile has set it"


@pytest.mark.parametrize(
    "shell", ["/bin/bash", "/usr/bin/zsh", "/usr/bin/fish", "/usr/sbin/nologin"]
)
async def test_a_first_line_names_the_interpreter_whatever_the_shell(
    running: Running, shell: str
) -> None:
    if not Path(shell).exists():
        pytest.skip(f"no {shell}")
    text = f"\n  #!{sys.executable}\nimport sys\nprint(sys.argv[1:], 6 * 7)\n"
    plain = "echo plain $((6 * 7))" if "fish" not in shell else "echo plain (math 6 x 7)"
    scripts = script("a", text), script("b", plain, after=("a",))
    async with running(*scripts, shell=shell) as told:
        await told.ended("a")
        await told.ended("b")
        assert told.output("a") == b"[] 42\n"
        assert told.output("b") == b"plain 42\n"


async def test_what_cannot_be_run_says_why(running: Running) -> None:
    async with running(script("a", "#!/opt/no/such\nx"), script("b", "no_such_command")) as told:
        run = await told.ended("a")
        assert (run.state, run.exit_code) == ("failed", 127)
        assert run.note == "its interpreter '/opt/no/such' is not there"
        assert run.note.encode() in told.output("a")
        assert (await told.ended("b")).exit_code == 127


async def test_one_that_never_ends_is_ended_and_the_next_runs(running: Running) -> None:
    endless = script("a", "echo begun; sleep 1000 & wait", timeout_s=1)
    async with running(endless, script("b", "echo b", after=("a",))) as told:
        run = await told.ended("a")
        assert (run.state, run.note) == ("timed_out", "it took longer than 1 s and was ended")
        assert told.output("a") == b"begun\n"
        assert (await told.ended("b")).state == "succeeded"


async def test_one_that_is_killed_says_by_what(running: Running) -> None:
    async with running(script("a", "kill -9 $$")) as told:
        run = await told.ended("a")
        assert (run.state, run.exit_code, run.note) == ("failed", 137, "it was ended by SIGKILL")


async def test_a_program_left_behind_goes_on_and_is_still_heard(
    running: Running, tmp_path: Path
) -> None:
    go, pid = tmp_path / "go", tmp_path / "pid"
    os.mkfifo(go)
    later = f"(read x <{go}; echo later) & echo $! >{pid}; echo now"
    async with running(script("a", later)) as told:
        run = await told.ended("a")
        assert (run.state, told.output("a")) == ("succeeded", b"now\n")
        assert run.note == "a program that it started goes on, and prints here"
        await trio.to_thread.run_sync(go.write_text, "x\n")
        await told.until(lambda: told.output("a") == b"now\nlater\n")
        assert told.states("a") == ["waiting", "running", "succeeded"]
    assert not psutil.pid_exists(int(pid.read_text())) or _is_zombie(int(pid.read_text()))


def _is_zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.slow
async def test_a_flood_is_bounded_and_ends_as_it_ended(running: Running) -> None:
    text = "head -c 3000000 /dev/zero | tr '\\0' x; echo the end"
    async with running(script("a", text)) as told:
        assert (await told.ended("a")).state == "succeeded"
        printed = told.output("a")
        assert len(printed) < 600_000
        assert printed.startswith(b"x" * 256 * 1024)
        assert printed.endswith(b"xthe end\n")
        parts = told.printed[told.last("a").run]
        assert max(offset + len(data) for offset, data in parts.items()) == 3_000_008


async def test_a_new_link_is_told_all_again_but_not_what_was_kept(running: Running) -> None:
    async with running(script("a", "echo one; read x; echo two")) as told:
        await told.ended("a")
        again = Told(told.scripts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(told.scripts.tell, again)
            await again.ended("a")
            nursery.cancel_scope.cancel()
        assert again.states("a") == ["running", "succeeded"]
        assert again.printed == {}
        assert messages.SpecSet(build_id="bld_1") in again.heard


async def test_output_that_nobody_has_kept_is_told_to_the_next_link(running: Running) -> None:
    async with running(script("a", "echo one")) as told:
        told.answering = False
        await told.until(lambda: bool(told.printed))
        again = Told(told.scripts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(told.scripts.tell, again)
            await again.ended("a")
            nursery.cancel_scope.cancel()
        assert again.output("a") == b"one\n"


async def test_scripts_of_a_stop_run_when_it_is_asked_for_and_within_its_time(
    running: Running,
) -> None:
    bye = script("bye", "echo bye", run_on_stop=True)
    slow = script("slow", "sleep 1000", run_on_stop=True)
    async with running(bye, slow, script("a", "true")) as told:
        await told.ended("a")
        assert told.states("bye") == []
        told.scripts.stop(1.0)
        await told.until(lambda: messages.StopScriptsEnded() in told.heard)
        assert told.last("bye").state == "succeeded"
        assert told.last("slow").state == "timed_out"
        assert told.output("bye") == b"bye\n"


async def test_nothing_to_run_at_a_stop_is_told_at_once(running: Running) -> None:
    async with running() as told:
        told.scripts.stop(10)
        await told.until(lambda: messages.StopScriptsEnded() in told.heard)


async def test_the_end_of_the_agent_ends_scripts(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    text = f"echo $$ >{file}; exec sleep 1000"
    async with running(script("a", text)) as told:
        # The shell makes the file before it writes.
        await told.until(lambda: file.exists() and bool(file.read_text()))
        pid = int(file.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIG_DFL)


async def test_the_file_that_log_path_names_has_the_output_too(
    running: Running, tmp_path: Path
) -> None:
    text = "echo one; echo two >&2; (sleep 0.5; echo later) &"
    log = tmp_path / "new dir" / "a.log"
    log.parent.mkdir()
    log.write_text("of an earlier run, which was longer than this one will be")
    (tmp_path / "file").write_text("")
    scripts = (
        script("a", text, log_path="~/new dir/a.log"),
        script("b", "echo ${HOME}", log_path="$HOME/deep/er/b.log"),
        script("c", "echo c", log_path=f"{tmp_path}/file/c.log"),
    )
    async with running(*scripts) as told:
        assert (await told.ended("a")).exit_code == 0
        assert log.read_text().startswith("one\ntwo\n")
        await told.until(lambda: log.read_text() == "one\ntwo\nlater\n")
        await told.ended("b")
        file = tmp_path / "deep" / "er" / "b.log"
        await told.until(lambda: file.is_file() and file.read_text() == f"{tmp_path}\n")
        assert file.stat().st_mode & 0o777 == 0o600
        assert (await told.ended("c")).exit_code == 0
        await told.until(lambda: b"mkdir: " in told.output("c"))
        assert b"c\n" in told.output("c")


async def test_shutdown_scripts_run_when_the_agent_alone_is_told_to_end(
    running: Running, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    last = script("last", f"sleep 0.1; echo bye >>{said}", run_on_stop=True)
    async with running(last) as told:
        with trio.fail_after(10):
            await told.scripts.shut_down()
            assert said.read_text() == "bye\n"
            await told.scripts.shut_down()  # once is enough
        assert said.read_text() == "bye\n"
        await told.ended("last")
    async with running() as told:
        with trio.fail_after(10):
            await told.scripts.shut_down()


# --- metadata


def item(key: str, text: str, **more: Any) -> MetadataItem:
    return MetadataItem(key=key, display_name=key, script=text, **{"interval_s": 0, **more})


async def test_metadata_is_told_again_and_again_and_a_hung_script_holds_up_nobody(
    running: Running,
) -> None:
    async with running() as told:
        items = (
            item("hangs", "echo begun; sleep 1000", timeout_s=1),
            item("fails", "echo why; exit 5"),
            item("long", "head -c 100000 /dev/zero | tr '\\0' x"),
            item("left", "sleep 1000 & echo here"),
            item("ticks", "date +%N", interval_s=1),
        )
        told.scripts.set_spec(AgentSpec(build_id="bld_1", metadata=items))

        def found(key: str, by: Told = told) -> list[messages.MetadataFound]:
            all_ = [m for m in by.heard if isinstance(m, messages.MetadataFound)]
            return [m for m in all_ if m.key == key]

        await told.until(lambda: len(found("ticks")) > 1 and all(found(i.key) for i in items))
        assert len({m.value for m in found("ticks")}) > 1
        assert [(m.value, m.error) for m in found("fails")] == [
            ("why", "it ended with exit code 5")
        ]
        assert [m.error for m in found("hangs")] == ["it took longer than 1 s and was ended"]
        assert [len(m.value) for m in found("long")] == [2048]
        assert found("left")[0].value == "here"
        # A new link hears the newest of each, and how old it is.
        again = Told(told.scripts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(told.scripts.tell, again)
            await again.until(lambda: bool(found("fails", again)))
            nursery.cancel_scope.cancel()
        assert found("fails", again)[0].age_s > 0
