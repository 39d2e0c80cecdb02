"""How a command reaches the background process, and begins one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kled_client.sync import control
from kled_client.sync.background import _bound, only_one, socket_path
from kled_client.sync.control import ask
from kled_sync.files.root import sync_home
from kled_wire.errors import UnavailableError
from tests.client.sync.conftest import Env
from tests.kit.waiting import wait_until

_OLDER = """
import json
import sys
from pathlib import Path
import trio
from kled_client.sync import background

background.SOFTWARE_VERSION = "0.0.1"
if sys.argv[2] == "unknown":
    # As it was when a line was the request itself.
    async def answer(self, stream, line):
        error = {"status": 422, "code": "sync_request_unknown", "message": "'do'", "hint": None}
        await stream.send_all(json.dumps({"error": error}).encode() + b"\\n")
    background.Background._answer = answer
process = background.Background(Path(sys.argv[1]), {}, lambda profile: None)

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(process.run)
        print("up", flush=True)

trio.run(main)
"""


def end_process_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        monkeypatch.chdir(home)
        sock.connect("background.sock")
        peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        os.kill(int.from_bytes(peer[:4], sys.byteorder), signal.SIGTERM)


def test_a_process_that_is_still_ending_is_waited_for(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sync_home(env)
    home.mkdir(parents=True)
    log = home / "background.log"
    with ThreadPoolExecutor(1) as threads:
        with only_one(home):
            asked = threads.submit(ask, env, "list")
            wait_until("one was refused", lambda: log.exists() and "runs" in log.read_text())
        assert asked.result() == {"syncs": []}
    end_process_at(home, monkeypatch)


@pytest.mark.parametrize("do", ["list", "status"])
def test_a_process_that_does_not_answer_is_named(
    env: Env, monkeypatch: pytest.MonkeyPatch, do: str
) -> None:
    """As one that was stopped."""
    monkeypatch.setattr(control, "_SILENT_MAX_S", 0.1)
    home = sync_home(env)
    home.mkdir(parents=True)
    with _bound(socket_path(home)), pytest.raises(UnavailableError, match="has not answered"):
        ask(env, do, start=False)


def test_a_process_that_ended_before_it_read_the_request_is_asked_again(env: Env) -> None:
    home = sync_home(env)
    home.mkdir(parents=True)
    with _bound(socket_path(home)) as listener, ThreadPoolExecutor(1) as threads:
        listener.settimeout(10)
        for answer in (b'{"syncs": []}\n', b""):
            asked = threads.submit(ask, env, "list", start=False)
            with listener.accept()[0] as ending:
                ending.recv(1, socket.MSG_PEEK)
            with listener.accept()[0] as another:
                another.recv(1000 if answer else 1)
                another.sendall(answer)
            if answer:
                assert asked.result() == {"syncs": []}
        with pytest.raises(UnavailableError, match="ended"):
            asked.result()


@pytest.mark.parametrize("version", ["other", "unknown"])
def test_a_background_process_of_another_version_is_started_again(
    env: Env, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sync_home(env)
    home.mkdir(parents=True)
    command = [sys.executable, "-c", _OLDER, str(home), version]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as older:
        assert older.stdout is not None
        assert older.stdout.readline() == "up\n"
        try:
            with pytest.raises(UnavailableError, match="another version"):
                ask(env, "list", start=False)
            assert ask(env, "list") == {"syncs": []}
            assert older.wait(10) != 0
            assert ask(env, "list", start=False) == {"syncs": []}
        finally:
            end_process_at(home, monkeypatch)
            older.kill()


def test_nobody_answers_where_nothing_runs(env: Env) -> None:
    with pytest.raises(UnavailableError, match="does not run"):
        ask(env, "list", start=False)


def test_a_state_directory_that_cannot_be_made_is_named(env: Env, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UnavailableError, match="file/kled/sync cannot be used: Not a dir"
    ) as caught:
        ask({**env, "XDG_STATE_HOME": str(tmp_path / "file")}, "list")
    assert caught.value.code == "sync_state_unusable"
