"""What a person reads when something is wrong: what, where, and what to do."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kled_client.forward.serve import ForwardStatus
from kled_client.forward.spec import ForwardKind, parse_forward
from kled_client.forward.view import describe
from tests.client.conftest import ROOT, Kled, one_line
from tests.client.fake import TOKEN, Fake

# Of a TLS server that gets what is no TLS (RFC 8446, section 6), and of an HTTP server likewise.
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
NOBODY = "http://127.0.0.1:9"


def test_a_bad_token_of_the_environment_is_named(signed_in: Fake, kled: Kled) -> None:
    for token in ("kled_unknown", "not a token"):
        done = kled("list", env={"KLED_TOKEN": token})
        said = one_line(done.stderr)
        assert "KLED_TOKEN" in said
        assert "token create" in said
    assert kled("list", env={"KLED_TOKEN": "kled_unknown"}).returncode == 3


def test_profiles_are_listed_where_one_is_not_there(signed_in: Fake, kled: Kled) -> None:
    missing = kled("--profile", "work", "list")
    assert missing.returncode == 3
    assert "there is no profile work; there is default (kled profile list" in one_line(
        missing.stderr
    )
    assert f"*  default  alice  {signed_in.url}" in kled("profile", "list").stdout.decode()
    (raw,) = json.loads(kled("profile", "list", "-o", "json").stdout)
    assert raw == {"name": "default", "url": signed_in.url, "user": "alice", "in_use": True}


def test_a_proxy_that_is_not_there_is_named(signed_in: Fake, kled: Kled) -> None:
    for words in (("list",), ("stream", "dev")):
        done = kled(
            *words, env={"HTTP_PROXY": NOBODY, "KLED_URL": "http://kled.test", "KLED_TOKEN": TOKEN}
        )
        assert done.returncode == 7
        assert "cannot reach the proxy 127.0.0.1:9: Connection refused" in one_line(done.stderr)
        assert "NO_PROXY" in one_line(done.stderr)


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A port where each connection is answered so, whatever it says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                sock, _ = listener.accept()
                with sock:
                    if not sock.recv(4096):
                        return
                    sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield port
        finally:
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join(10)


def test_http_where_tls_is_spoken(kled: Kled) -> None:
    with answering(TLS_ALERT) as port:
        url = f"http://127.0.0.1:{port}"
        for words in (("list",), ("stream", "dev")):
            done = kled(*words, env={"KLED_URL": url, "KLED_TOKEN": TOKEN})
            said = one_line(done.stderr)
            assert done.returncode == 7
            assert f"cannot reach {url}: the server speaks TLS (kled login https://" in said


def test_tls_where_http_is_spoken(kled: Kled) -> None:
    with answering(REFUSAL) as port:
        url = f"https://127.0.0.1:{port}"
        for words in (("list",), ("stream", "dev")):
            done = kled(*words, env={"KLED_URL": url, "KLED_TOKEN": TOKEN})
            said = one_line(done.stderr)
            assert done.returncode == 7
            assert f"cannot reach {url}: the server speaks plain HTTP (kled login http://" in said


def test_a_url_with_a_path_that_leads_nowhere(fake: Fake, kled: Kled) -> None:
    fake.routes["GET", "/console/api/v1/version"] = (404, "<html>")
    done = kled("login", f"{fake.url}/console", env={"KLED_LOGIN_CODE": "kled_once_x"})
    assert f"without /console? kled login {fake.url})" in one_line(done.stderr)


def test_vscode_in_a_workspace_that_is_not_there(signed_in: Fake, kled: Kled, home: Path) -> None:
    done = kled("open", "vscode", "nope")
    assert done.returncode == 4
    assert "no workspace nope" in one_line(done.stderr)
    assert not (home / ".ssh/config").exists()


def answered(home: Path, words: list[str], typed: bytes, until: bytes) -> tuple[int, str]:
    """Run kled on a terminal, and type when it has said `until`."""
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "KLED_KEYRING": "off", "TERM": "xterm"}
    env |= {"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    ours, theirs = pty.openpty()
    command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "kled_client", *words]
    with subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 4096):
                said += piece
                if typed and until in said:
                    os.write(ours, typed)
                    typed = b""
        except OSError:  # EIO: the far side is gone
            os.close(ours)
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    "words", [["delete", "dev"], ["template", "delete", "process"], ["user", "delete", "bob"]]
)
def test_a_no_to_a_delete_changes_nothing_and_says_so(
    signed_in: Fake, home: Path, words: list[str]
) -> None:
    code, said = answered(home, words, b"n\r", b"[y/N]")
    assert code == 1
    assert f"{words[-1]} was not deleted" in said
    assert signed_in.requests == []


def test_ctrl_c_while_the_agent_is_waited_for_says_that_the_workspace_goes_on(
    signed_in: Fake, home: Path
) -> None:
    found = "/api/v1/workspaces/ws_00000000000000000001"
    build = {"id": "bld_2", "transition": "start", "status": "pending"}
    signed_in.routes["POST", f"{found}/builds"] = (202, build)
    signed_in.held.add(f"{found}/wait")
    code, said = answered(home, ["start", "dev"], b"\x03", b"waiting for the agent")
    assert code in {130, -signal.SIGINT}
    assert "dev goes on without us; kled show dev" in said


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        ("8080:3000", "http://127.0.0.1:8080"),
        ("[::1]:8080:web:80", "http://[::1]:8080"),
        ("0.0.0.0:8080:3000", "http://localhost:8080"),
        ("5432", None),
        ("/tmp/a.sock:3000", None),
    ],
)
def test_a_forward_can_be_clicked(spec: str, url: str | None) -> None:
    (forward,) = parse_forward(spec, ForwardKind.LOCAL)
    line = describe(ForwardStatus(forward=forward, listen=forward.listen), "dev")
    assert (f"  {url}" in line) if url else ("http" not in line)
