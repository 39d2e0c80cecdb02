"""`kled-coord` as a program: init, serve, and how it goes down."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trio

from kled_wire.version import SOFTWARE_VERSION
from tests.kit.sockets import free_port

pytestmark = pytest.mark.slow


def run(tmp_path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kled_coord", *arguments],
        env={**os.environ, "KLED_COORD_DATA_DIR": str(tmp_path / "data"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_init_is_idempotent_and_private(tmp_path) -> None:
    first = run(tmp_path, "init", "--output", "json")
    made = json.loads(first.stdout)
    assert made["user"] == "admin"
    assert made["code"].startswith("kled_once_")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    again = run(tmp_path, "init")
    assert "already initialised" in again.stdout
    assert "kled_once_" not in again.stdout
    assert "kled_once_" in run(tmp_path, "init", "--new-code").stdout
    assert "kled login http" in run(tmp_path, "user", "reset-login", "admin").stdout
    wrong = run(tmp_path, "user", "reset-login", "nobody")
    assert (wrong.returncode, wrong.stderr.strip()) == (4, "kled-coord: there is no user nobody")


def test_version_before_anything_is_set_up(tmp_path) -> None:
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"kled-coord {SOFTWARE_VERSION}\n")


def test_a_wrong_setting_is_one_line_and_exit_code_2(tmp_path) -> None:
    done = run(tmp_path, "check-config", KLED_COORD_PORT="x")
    assert done.returncode == 2
    assert done.stderr.startswith("kled-coord: port, from the environment variable")
    assert len(done.stderr.splitlines()) == 1


def test_serve_says_in_a_sentence_that_it_needs_linux(tmp_path) -> None:
    elsewhere = (
        "import os, platform; del os.splice; platform.system = lambda: 'Darwin'\n"
        "from kled_coord.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", elsewhere, "serve"],
        env={**os.environ, "KLED_COORD_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        "kled-coord: the coordinator runs on Linux only, and this is Darwin"
    )
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_tls_files_that_cannot_be_used_are_one_line_and_exit_2(tmp_path, command) -> None:
    files = {"KLED_COORD_TLS_CERT_FILE": tmp_path / "none", "KLED_COORD_TLS_KEY_FILE": tmp_path}
    done = run(tmp_path, command, **{name: str(path) for name, path in files.items()})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"kled-coord: tls_cert_file {tmp_path}/none, ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_a_terraform_that_is_not_there_is_one_line_and_exit_2(tmp_path, command) -> None:
    for path in (tmp_path / "none", tmp_path, Path(__file__)):
        done = run(tmp_path, command, KLED_COORD_TERRAFORM_PATH=str(path))
        assert done.returncode == 2
        last = done.stderr.splitlines()[-1]
        assert last.startswith("kled-coord: terraform_path: ")
        assert str(path) in last
        assert "Traceback" not in done.stderr


async def test_serve_answers_holds_its_directory_and_drains(tmp_path) -> None:
    made = json.loads(run(tmp_path, "init", "--output", "json").stdout)
    port = free_port()
    environment = {
        **os.environ,
        "KLED_COORD_DATA_DIR": str(tmp_path / "data"),
        "KLED_COORD_PORT": str(port),
        "KLED_COORD_LOG_FORMAT": "json",
    }
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "kled_coord", "serve"],
        env=environment,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        with trio.fail_after(30):
            log = b""
            while b"coordinator_started" not in log:
                log += await process.stderr.receive_some()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                answer = await client.post("/api/v1/auth/exchange", json={"code": made["code"]})
                assert answer.status_code == 200
                assert (await client.get("/readyz")).status_code == 200
                second = await trio.to_thread.run_sync(run, tmp_path, "serve")
                assert "another coordinator" in second.stderr
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await process.stderr.aclose()
