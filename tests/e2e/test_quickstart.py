"""scripts/quickstart, as a newcomer and as a machine run it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.kit.processes import command_line
from tests.kit.site import ROOT
from tests.kit.terminal import Terminal
from tests.kit.waiting import wait_until

QUICKSTART = ROOT / "scripts" / "quickstart"
STEPS = (
    "install",
    "start the coordinator and log in",
    "push the template",
    "create the workspace",
    "run uname -a",
    "copy a file in and out",
    "forward a port and fetch a page",
    "delete the workspace",
    "stop the coordinator",
)


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One state directory: the second run finds the installation of the first."""
    state = tmp_path_factory.mktemp("state")
    return {**os.environ, "XDG_STATE_HOME": str(state), "HOME": str(state)}


@pytest.fixture(autouse=True)
def nothing_is_left(env: dict[str, str]) -> Iterator[None]:
    yield
    assert not processes(env)


def processes(env: dict[str, str]) -> list[str]:
    """What runs out of the state directory."""
    lines = [command_line(process) for process in psutil.process_iter()]
    return [
        " ".join(line)
        for line in lines
        if any(word.startswith(env["XDG_STATE_HOME"]) for word in line)
    ]


@pytest.mark.timeout(900)
def test_check_runs_every_step_and_again(env: dict[str, str]) -> None:
    for attempt in range(2):
        done = subprocess.run(
            [QUICKSTART, "--check"],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        first, *lines = done.stdout.splitlines()
        assert env["XDG_STATE_HOME"] in first
        *lines, empty, last = lines
        assert (empty, last.count("--remove")) == ("", 1)
        assert len(lines) == len(STEPS)
        for line, step in zip(lines, STEPS, strict=True):
            assert line.startswith(f"ok      {step}")
        assert os.uname().sysname in lines[4]
        # Others may have changed the sources meanwhile.
        assert lines[0].endswith(("up to date", "only Kled itself")) == (attempt == 1)


@pytest.mark.timeout(400)
def test_a_person_gets_a_shell(env: dict[str, str]) -> None:
    terminal = Terminal([QUICKSTART], env)
    terminal.wait_for("leave with `exit`", within_s=300)
    terminal.type("echo in-$((40 + 2)) $(tty)\r")
    terminal.wait_for("in-42 /dev/pts/")
    terminal.type("exit\r")
    terminal.wait_for("ok      stop the coordinator")
    assert terminal.close() == 0


@pytest.mark.timeout(400)
def test_a_person_who_closes_the_terminal_leaves_nothing(env: dict[str, str]) -> None:
    terminal = Terminal([QUICKSTART], env)
    terminal.wait_for("leave with `exit`", within_s=300)
    terminal.type("sleep 1000\r")
    terminal.hang_up()
    wait_until("all of it has ended", lambda: not processes(env))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_half_way_cleans_up(
    env: dict[str, str], number: signal.Signals
) -> None:
    with subprocess.Popen(
        [QUICKSTART, "--check"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"create the workspace" in line:
                said = refused(env, "--check")
                assert f"is running, process {process.pid};" in said
                process.send_signal(number)
                break
        process.stdout.read()
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    wait_until("all of it has ended", lambda: not processes(env))
    state = Path(env["XDG_STATE_HOME"]) / "kled/quickstart"
    wait_until("its data are gone", lambda: not (state / "data").exists())


def test_a_failing_step_is_named(env: dict[str, str], tmp_path: Path) -> None:
    """Here: no room for the coordinator's data, since a file is in the way."""
    data = Path(env["XDG_STATE_HOME"]) / "kled/quickstart/data"
    data.write_text("in the way")
    done = subprocess.run(
        [QUICKSTART, "--check"],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    data.unlink()
    assert done.returncode == 1
    assert "FAILED  start the coordinator" in done.stdout
    assert "failed: start the coordinator" in done.stderr


def test_without_containerd_one_sentence_says_so_and_nothing_is_installed(
    env: dict[str, str], tmp_path: Path
) -> None:
    words = ["--check", "--template", "containerd"]
    nowhere = {"XDG_STATE_HOME": str(tmp_path), "CONTAINERD_ADDRESS": f"{tmp_path}/no.sock"}
    done = subprocess.run(
        [QUICKSTART, *words], env={**env, **nowhere}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "FAILED  look for containerd" in done.stdout
    said = f"there is no containerd at {tmp_path}/no.sock" if os.geteuid() == 0 else "only root"
    assert said in done.stdout
    assert not (tmp_path / "kled/quickstart/venv").exists()


def refused(env: dict[str, str], *words: str) -> str:
    """What a run that cannot even begin says on standard error: one line."""
    done = subprocess.run(
        [QUICKSTART, *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_state_directory_that_cannot_be_made_is_named(
    env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    said = refused({**env, "XDG_STATE_HOME": str(tmp_path / "file")}, "--check")
    assert str(tmp_path / "file") in said
    assert "XDG_STATE_HOME" in said


def test_without_a_network_one_line_says_so(env: dict[str, str], tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1"
    done = subprocess.run(
        [QUICKSTART, "--check"],
        env={
            **{name: value for name, value in env.items() if not name.startswith("PIP_")},
            "XDG_STATE_HOME": str(tmp_path),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": nowhere,
            "PIP_RETRIES": "0",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FAILED  install")]
    assert "cannot reach a package index" in line
    assert "HTTPS_PROXY" in line


def test_help_and_wrong_words(env: dict[str, str]) -> None:
    shown = subprocess.run([QUICKSTART, "--help"], env=env, capture_output=True, check=True)
    assert b"--check" in shown.stdout
    wrong = subprocess.run(
        [QUICKSTART], env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert wrong.returncode == 2
    assert b"--check does without" in wrong.stderr


def test_remove_takes_the_programs_away_too(env: dict[str, str]) -> None:
    """The last of this file, whose other tests share the installation."""
    done = subprocess.run(
        [QUICKSTART, "--remove"], env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert b"is gone" in done.stdout
    assert not (Path(env["XDG_STATE_HOME"]) / "kled/quickstart").exists()


def test_on_another_system_it_says_so_and_makes_nothing(
    env: dict[str, str], tmp_path: Path
) -> None:
    main = str(ROOT / "scripts" / "quick" / "main.py")
    elsewhere = (
        # What asks the system's name while it is imported is imported before.
        "import runpy, sys, urllib.request; sys.platform = 'darwin'; "
        f"runpy.run_path({main!r}, None, '__main__')"
    )
    done = subprocess.run(
        ["python3", "-c", elsewhere, "--check"],
        env={**env, "XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: the quickstart starts a coordinator, which runs on Linux only; "
        "run it on a Linux machine or in a Linux VM\n"
    )
    assert not (tmp_path / "state").exists()
