"""Sessions through the real OpenSSH client: status, streams, terminals, ends."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pty
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest
import trio

from kled_agent.machine.users import LocalUser
from kled_agent.sessions.program import Command, start_on_pipes
from kled_agent.ssh import session as session_module
from kled_wire.eventlog import EventLog
from tests.agent.conftest import Records
from tests.agent.ssh.site import Keys, Site, run, serving


async def test_a_command_gives_its_output_errors_and_status_apart(site: Site) -> None:
    done = await site.ssh("echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


async def test_many_quick_commands_each_keep_their_status(keys: object, site: Site) -> None:
    control = site.home / "mux"
    options = ["-oControlMaster=auto", f"-oControlPath={control}", "-oControlPersist=60"]
    try:
        for status in range(12):
            assert (await site.ssh(f"exit {status}", options=options)).returncode == status
    finally:
        await site.ssh("-O", "exit", options=["-oControlPath=" + str(control)])


async def test_a_signal_that_ends_a_command_is_told(site: Site) -> None:
    done = await site.ssh("kill -TERM $$", options=["-v"])
    assert done.returncode == 255
    assert b"exit-signal" in done.stderr


async def test_standard_input_arrives_whole_and_ends(site: Site) -> None:
    blob = os.urandom(3_000_000)
    done = await site.ssh("sha256sum; echo rest", stdin=blob)
    assert done.stdout.decode().split() == [hashlib.sha256(blob).hexdigest(), "-", "rest"]


async def test_output_arrives_whole(site: Site) -> None:
    source = site.home / "blob"
    source.write_bytes(os.urandom(5_000_000))
    done = await site.ssh("cat blob")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(source.read_bytes()).digest()


async def test_a_program_that_reads_nothing_does_not_stop_the_session(site: Site) -> None:
    done = await site.ssh("exec 0<&-; echo done", stdin=bytes(8_000_000))
    assert (done.returncode, done.stdout) == (0, b"done\n")


async def test_a_login_shell_reads_commands_from_standard_input(site: Site) -> None:
    done = await site.ssh("-T", stdin=b"echo $0; pwd\nexit 4\n")
    assert done.returncode == 4
    assert done.stdout.decode().split() == ["-sh", str(site.home)]


async def test_a_terminal_has_its_size_type_and_name(site: Site) -> None:
    done = await site.ssh("-tt", "stty size; echo $TERM; tty; echo $SSH_TTY", env={"TERM": "vt220"})
    size, term, tty, ssh_tty = done.stdout.decode().split("\r\n")[:4]
    assert re.fullmatch(r"\d+ \d+", size)
    assert term == "vt220"
    assert tty == ssh_tty
    assert tty.startswith("/dev/pts/")


async def test_the_terminal_is_the_controlling_one_and_errors_go_to_it_too(site: Site) -> None:
    done = await site.ssh("-tt", "echo to-tty > /dev/tty; echo err >&2")
    assert done.stdout == b"to-tty\r\nerr\r\n"


async def test_the_end_of_a_terminals_output_is_not_cut_off(site: Site) -> None:
    done = await site.ssh("-tt", "seq 1 60000")
    assert done.stdout.replace(b"\r", b"").split() == [b"%d" % n for n in range(1, 60001)]


async def test_a_background_program_does_not_hold_a_terminal_session(site: Site) -> None:
    with trio.fail_after(20):
        done = await site.ssh("-tt", "trap '' HUP; sleep 30 & echo $!; exit 5")
    assert done.returncode == 5
    os.kill(int(done.stdout), 9)


async def test_a_window_change_reaches_the_program(site: Site) -> None:
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "-F", os.ttyname(theirs), "rows", "30", "cols", "90"], check=True)
    script = "stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"
    try:
        async with trio.open_nursery() as nursery:
            argv = ["ssh", *site.options(), "-t", "any@ws.kled", script]
            start = await nursery.start(
                partial(
                    trio.run_process,
                    argv,
                    stdin=theirs,
                    stdout=theirs,
                    stderr=theirs,
                    check=False,
                )
            )
            text = await _read_until(ours, "ready")
            assert "30 90" in text
            subprocess.run(
                ["stty", "-F", os.ttyname(theirs), "rows", "44", "cols", "132"], check=True
            )
            start.send_signal(28)  # SIGWINCH; there is no shell here whose terminal it is
            assert "44 132" in await _read_until(ours, "44 132")
    finally:
        os.close(ours)
        os.close(theirs)


async def _read_until(terminal: int, wanted: str) -> str:
    os.set_blocking(terminal, False)
    text = ""
    with trio.fail_after(20):
        while wanted not in text:
            await trio.lowlevel.wait_readable(terminal)
            text += os.read(terminal, 65536).decode()
    return text


async def test_sessions_start_where_and_with_what_the_template_says(
    keys: Keys, user: LocalUser, home: Path, log: EventLog
) -> None:
    (home / "project").mkdir()
    variables = {"COLOUR": "blue", "PATH": "/bin:/usr/bin", "KLED_WORKSPACE": "another"}
    told = dataclasses.replace(user, home=str(home), variables=variables, start_in="project")
    async with serving(keys, told, log) as site:
        shown = await site.ssh('pwd; echo "$COLOUR $PATH $HOME $KLED_WORKSPACE"')
        assert shown.stdout.decode().split("\n") == [
            str(home / "project"), f"blue /bin:/usr/bin {home} ws", "",
        ]  # fmt: skip
        batch = ["sftp", *site.options(), "-b", "-", "any@ws.kled"]
        found = await run(batch, stdin=b"pwd\n")
        assert f"Remote working directory: {home}\n" in found.stdout.decode()
        (home / "project").rmdir()
        assert (await site.ssh("pwd")).stdout.decode() == f"{home}\n"


async def test_only_harmless_variables_come_from_the_client(site: Site) -> None:
    sent = {"LANG": "C.UTF-8", "LC_TIME": "C", "LD_PRELOAD": "/x", "PATH_X": "1", "BASH_ENV": "/x"}
    done = await site.ssh("env", options=["-oSendEnv=*"], env=sent)
    got = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    assert (got["LANG"], got["LC_TIME"]) == ("C.UTF-8", "C")
    assert not {"LD_PRELOAD", "PATH_X", "BASH_ENV"} & set(got)
    assert (got["HOME"], got["KLED_WORKSPACE"]) == (str(site.home), "ws")
    assert {"SSH_CONNECTION", "SSH_CLIENT", "USER", "LOGNAME", "SHELL", "PATH"} <= set(got)


async def test_a_command_that_cannot_be_started_says_why_and_is_126(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_command: object) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(session_module, "start_on_pipes", fails)
    done = await site.ssh("true")
    assert done.returncode == 126
    assert b"Cannot allocate memory" in done.stderr


async def test_a_bug_in_one_session_leaves_the_others_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    async def crashes(command: Command) -> object:
        if "crash" in getattr(command, "line", ""):
            raise ZeroDivisionError
        return await start_on_pipes(command)

    monkeypatch.setattr(session_module, "start_on_pipes", crashes)
    async with trio.open_nursery() as nursery:
        results: list[int] = []

        async def other() -> None:
            results.append((await site.ssh("read line; exit 7", stdin=b"")).returncode)

        nursery.start_soon(other)
        assert (await site.ssh("crash")).returncode not in {0, 7}
    assert results == [7]
    assert (await site.ssh("exit 2")).returncode == 2
    assert len(records.having("session_failed")) == 1
    assert "ZeroDivisionError" in records.having("session_failed")[0]


async def test_a_client_that_vanishes_hangs_its_programs_up(site: Site) -> None:
    process = await trio.lowlevel.open_process(
        ["ssh", *site.options(), "any@ws.kled", "echo $$ > pid; exec sleep 1000"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    pid = await _wait_for_pid(site.home / "pid")
    process.kill()
    await process.wait()
    await _wait_gone(site, pid)


async def test_a_client_that_vanishes_while_its_program_does_not_read_harms_nobody(
    site: Site, records: Records
) -> None:
    process = await trio.lowlevel.open_process(
        ["ssh", *site.options(), "any@ws.kled", "echo $$ > pid; exec sleep 1000"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    with trio.move_on_after(1):
        await process.stdin.send_all(bytes(30_000_000))
    pid = await _wait_for_pid(site.home / "pid")
    process.kill()
    await process.wait()
    await process.stdin.aclose()
    await _wait_gone(site, pid)
    assert (await site.ssh("exit 6")).returncode == 6
    assert not records.having("session_failed")


@pytest.mark.slow
async def test_clients_that_vanish_at_any_moment_harm_nobody(site: Site, records: Records) -> None:
    for n in range(16):
        process = await trio.lowlevel.open_process(
            ["ssh", *site.options(), *(["-tt"] if n % 2 else []), "any@ws.kled", "yes"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with trio.move_on_after(0.06 + 0.02 * n):
            await process.wait()
        process.kill()
        await process.wait()
    assert (await site.ssh("exit 6")).returncode == 6
    assert not records.having("session_failed")
    assert not records.having("ssh_failed")


async def _wait_for_pid(path: Path) -> int:
    with trio.fail_after(20):
        while not path.exists() or not path.read_text().strip():
            await trio.sleep(0.01)
    return int(path.read_text())


async def _wait_gone(site: Site, pid: int) -> None:
    with trio.fail_after(20):
        while pid in site.children or Path(f"/proc/{pid}").exists():
            await trio.sleep(0.01)


@pytest.mark.slow
async def test_twenty_channels_of_one_connection_work_at_once(site: Site) -> None:
    options = [f"-oControlPath={site.home}/mux"]
    await site.ssh("true", options=[*options, "-oControlMaster=auto", "-oControlPersist=60"])
    results: dict[int, bytes] = {}

    async def one(number: int) -> None:
        done = await site.ssh(f"cat; echo {number}", options=options, stdin=b"%d-" % number * 9999)
        results[number] = done.stdout

    try:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
        assert results == {n: b"%d-" % n * 9999 + b"%d\n" % n for n in range(20)}
        assert len(site.streams) == 1
    finally:
        await site.ssh("-O", "exit", options=options)
