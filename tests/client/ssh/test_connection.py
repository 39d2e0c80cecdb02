"""SSH through the stream: our own client, and the real OpenSSH where there is one."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kled_client.cli.shell import may_pass
from kled_wire.errors import ForbiddenError, InputError, UnauthenticatedError, UnavailableError
from tests.client.conftest import ROOT, Kled, one_line
from tests.client.fake import Fake, workspace

needs_openssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")


@pytest.fixture
def agent(signed_in: Fake) -> Fake:
    signed_in.stream = "ssh"
    return signed_in


def test_exec_keeps_streams_and_status_apart(agent: Fake, kled: Kled) -> None:
    done = kled("exec", "dev", "--", "sh", "-c", "cat; echo err >&2; exit 7", input=b"in")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"in", b"err\n")
    words = kled("exec", "dev", "--", "printf", "%s|", "a b", "$HOME")
    assert words.stdout == b"a b|$HOME|"


def test_a_signal_is_128_more(agent: Fake, kled: Kled) -> None:
    assert kled("exec", "dev", "sh", "-c", "kill -9 $$").returncode == 128 + 9


def test_large_output_arrives_whole(agent: Fake, kled: Kled) -> None:
    done = kled("ssh", "dev", "head -c 8000000 /dev/zero")
    assert len(done.stdout) == 8_000_000


def test_the_wrong_host_is_not_talked_to(agent: Fake, kled: Kled) -> None:
    agent.host_names = ("other.kled",)
    done = kled("exec", "dev", "true")
    assert done.returncode == 3
    assert "no host certificate" in one_line(done.stderr)


def test_a_workspace_by_id(agent: Fake, kled: Kled) -> None:
    done = kled("exec", "ws_00000000000000000001", "echo", "hi")
    assert done.stdout == b"hi\n", done.stderr


def test_a_terminal(agent: Fake) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kled_client", "ssh", "dev"],
        env={**agent.env(), "PYTHONPATH": str(ROOT), "TERM": "xterm-test"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        seen = read_until(master, b"xterm-test 80x24")
        os.write(master, b"hello")
        seen = read_until(master, b"hello")
        assert seen.count(b"hello") == 1, "the local terminal echoes: it is not raw"
        os.write(master, b"\r~.")
        assert process.wait(20) == 255
    finally:
        process.kill()
        process.wait()
        os.close(master)


def read_until(descriptor: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        seen += os.read(descriptor, 4096)
    return seen


def test_copy_there_and_back(agent: Fake, kled: Kled, tmp_path: Path) -> None:
    source = tmp_path / "odd name ü"
    source.mkdir()
    (source / "a:b").write_bytes(b"x" * 100_000)
    (source / "a:b").chmod(0o750)
    os.utime(source / "a:b", (1_000_000_000, 1_000_000_000))
    up = kled("cp", "-r", str(source), f"dev:{tmp_path}/there")
    assert up.returncode == 0, up.stderr
    down = kled("cp", f"dev:{tmp_path}/there/a:b", str(tmp_path / "back"))
    assert down.returncode == 0, down.stderr
    back = tmp_path / "back"
    assert back.read_bytes() == b"x" * 100_000
    assert int(back.stat().st_mtime) == 1_000_000_000
    assert back.stat().st_mode & 0o777 == 0o750
    missing = kled("cp", f"dev:{tmp_path}/nope", str(tmp_path))
    assert missing.returncode == 4
    assert "nope" in one_line(missing.stderr)
    directory = kled("cp", str(source), f"dev:{tmp_path}/x")
    assert directory.returncode == 2
    assert "-r" in one_line(directory.stderr)


def test_forward(agent: Fake, kled: Kled) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        port = target.getsockname()[1]
        busy = kled("forward", "dev", str(port))
        assert busy.returncode == 5
        assert "in use" in one_line(busy.stderr)
        process = subprocess.Popen(
            [sys.executable, "-m", "kled_client", "-o", "json", "forward", "dev", f"0:{port}"],
            env={**agent.env(), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout, process.stderr:
            event = json.loads(process.stdout.readline())
            assert (event["event"], event["target"]) == ("listening", f"localhost:{port}")
            host, _, local = event["listen"].rpartition(":")
            with socket.create_connection((host, int(local)), timeout=20) as here:
                there, _ = target.accept()
                with there:
                    there.settimeout(20)
                    here.sendall(b"ping")
                    assert there.recv(10) == b"ping"
                    there.sendall(b"pong")
                    assert here.recv(10) == b"pong"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130


def test_ping(agent: Fake, kled: Kled) -> None:
    done = kled("-o", "json", "ping", "dev", "-c", "3")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert len(answer["rounds"]) == 3
    assert answer["median"]["coordinator_agent_ms"] == 1.25
    assert answer["median"]["end_to_end_ms"] > 0
    assert answer["path"]["kind"] == "relay"
    assert kled("ping", "dev", "-c", "1").stdout.splitlines()[-1].startswith(b"path: relay (")


def test_status(agent: Fake, kled: Kled) -> None:
    answer = json.loads(kled("-o", "json", "status", "dev").stdout)
    assert answer["user"]["name"] == "alice"
    assert answer["coordinator"]["url"] == agent.url
    assert answer["path"]["kind"] == "relay"
    shown = kled("status", "dev").stdout.decode()
    assert "connected, 1.5 ms from the coordinator" in shown
    assert "has not said whether there is a direct path" in shown
    off = kled("status", "dev", env={"KLED_DIRECT": "off"}).stdout.decode()
    assert "relay (KLED_DIRECT is off)" in off
    assert "dev" in kled("status").stdout.decode()


def test_the_status_of_what_cannot_be_reached(agent: Fake, kled: Kled) -> None:
    agent.stream = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    done = kled("-o", "json", "status", "dev")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"]["kind"] == "none"
    away = workspace()
    away["agent"]["status"] = "disconnected"
    agent.routes["GET", "/api/v1/workspaces/dev"] = (200, away)
    done = kled("status", "dev")
    assert b"none (the agent is not connected)" in done.stdout


@needs_openssh
def test_openssh_through_the_block(agent: Fake, kled: Kled, home: Path) -> None:
    config = home / "cfg"
    assert kled("config-ssh", "--ssh-config-file", str(config)).returncode == 0
    certificate = home / ".config/kled/ssh/id_ed25519-cert.pub"
    state = home / ".config/kled/ssh/certificate.json"
    # As good as expired: the renewal happens inside `kled stream`, before ssh reads the file.
    state.unlink()
    certificate.write_text("not a certificate\n")
    env = {**agent.env(), "PYTHONPATH": str(ROOT)}
    command = ["ssh", "-F", str(config)]

    def ssh(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*command, *words], env=env, capture_output=True, timeout=30, check=False
        )

    try:
        first = ssh("dev.kled", "echo hi; exit 3")
        assert (first.returncode, first.stdout, first.stderr) == (3, b"hi\n", b"")
        streams = sum("/stream" in request[1] for request in agent.requests)
        began = time.monotonic()
        assert ssh("dev.kled", "true").returncode == 0
        assert time.monotonic() - began < 5
        # The second went over the first one's connection.
        assert sum("/stream" in request[1] for request in agent.requests) == streams
    finally:
        ssh("-O", "exit", "dev.kled")


def test_a_session_is_reached_again_unless_a_person_must_act() -> None:
    assert may_pass(UnavailableError("unknown_stream", "the agent was restarted"))
    assert may_pass(UnavailableError("agent_ended", "another agent may come"))
    assert not may_pass(UnavailableError("workspace_stopped", "on purpose"))
    assert may_pass(InputError("head_timeout", "the head came too late"))
    assert not may_pass(UnauthenticatedError("token_revoked", "no"))
    assert not may_pass(ForbiddenError("forbidden", "no"))
    assert not may_pass(ValueError("a bug"))
    assert not may_pass(None)
