"""`kled stream`, as ssh runs it: real processes, real sockets."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trustme

from kled_client.account import profile
from kled_client.account.certificate import ensure_certificate
from tests.client.conftest import ROOT, Kled, one_line
from tests.client.fake import TOKEN, Fake, running
from tests.kit.processes import command_line

HEAVY = ("click", "trio", "httpx", "rich", "asyncssh", "dataclasses", "http.client", "pathlib")
# The fake echoes what it gets: it speaks no resumption.
PLAIN = ("--resume", "never")
BLOB = os.urandom(3_000_000)


@pytest.fixture
def secured(home: Path, tmp_path: Path) -> Iterator[Fake]:
    """A coordinator with TLS, whose CA the profile trusts."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trust = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trust))
    with running(home, lambda f: setattr(f, "tls", context)) as fake:
        fake.sign_in()
        stored = profile.load(fake.env())._replace(ca_file=str(trust))
        profile.save(fake.env(), stored)
        yield fake


def fdpass(fake: Fake, *words: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Do as ssh does with ProxyUseFdpass: returns the socket that was passed."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "kled_client", "stream", "--fdpass", *words],
            env={**fake.env(), "PYTHONPATH": str(ROOT)},
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
        )
    with ours:
        ours.settimeout(20)
        data, descriptors, _, _ = socket.recv_fds(ours, 16, 4)
    assert data == b"\0"
    assert len(descriptors) == 1
    assert process.stderr is not None
    # Ends only when nobody holds our standard error any more: a child left behind must not.
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(20) == 0
    return socket.socket(fileno=descriptors[0]), process


def echo(sock: socket.socket, expected_first: bytes = b"") -> None:
    """Send, half-close, and read everything back to the end."""
    sock.settimeout(20)
    with sock:
        small = BLOB[:100_000]
        sock.sendall(small)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
    assert received == expected_first + small


def test_the_fast_path_loads_nothing_heavy(signed_in: Fake, home: Path) -> None:
    ensure_certificate(signed_in.env(), profile.load(signed_in.env()), TOKEN)
    code = (
        # An editable install's finder may have loaded some of them before us.
        "import sys; before = set(sys.modules); sys.argv = ['kled', 'stream', 'dev.kled']\n"
        "from kled_client.__main__ import main; status = main()\n"
        f"heavy = [m for m in {HEAVY!r} if m in set(sys.modules) - before]\n"
        "print('status', status, 'heavy', heavy, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**signed_in.env(), "PYTHONPATH": str(ROOT)},
        input=b"hello",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == b"hello"
    assert done.stderr == b"status 0 heavy []\n"


def test_standard_streams_are_pumped_with_half_close(signed_in: Fake, kled: Kled) -> None:
    done = kled("stream", "dev", "--kind", "tcp", "--port", "80", *PLAIN, input=BLOB)
    assert done.returncode == 0, done.stderr
    assert done.stdout == BLOB
    assert signed_in.requests[-1][1] == "/api/v1/workspaces/dev/stream?kind=tcp&port=80"


def test_files_instead_of_pipes(signed_in: Fake, kled: Kled, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_bytes(BLOB)
    with source.open("rb") as file:
        done = kled("stream", "dev", "--kind", "tcp", "--port", "80", *PLAIN, stdin=file)
    assert done.stdout == BLOB


def test_bytes_behind_the_head_are_not_lost(signed_in: Fake, kled: Kled) -> None:
    signed_in.first = b"SSH-2.0-early\r\n"
    done = kled("stream", "dev", "--kind", "tcp", "--port", "80", *PLAIN, input=b"x")
    assert done.stdout == b"SSH-2.0-early\r\nx"


def test_fdpass_gives_the_socket_itself(signed_in: Fake) -> None:
    sock, _ = fdpass(signed_in, "dev.kled")
    assert sock.getpeername() == ("127.0.0.1", signed_in.port)
    echo(sock)
    assert signed_in.certificates == 1


def test_fdpass_without_a_socket_is_an_ordinary_stream(signed_in: Fake, kled: Kled) -> None:
    assert kled("stream", "dev.kled", "--fdpass", input=b"through").stdout == b"through"


def test_fdpass_with_early_bytes_leaves_a_pump_behind(signed_in: Fake) -> None:
    signed_in.first = b"early"
    sock, _ = fdpass(signed_in, "dev.kled")
    echo(sock, b"early")


def test_tls(secured: Fake) -> None:
    secured.stream = "ssh"
    process = subprocess.Popen(
        [sys.executable, "-m", "kled_client", "stream", "dev"],
        env={**secured.env(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.read(8) == b"SSH-2.0-"
        process.stdin.close()
        assert process.wait(20) == 0


def test_tls_fdpass(secured: Fake) -> None:
    secured.stream = "ssh"
    sock, _ = fdpass(secured, "dev.kled")
    sock.settimeout(20)
    with sock:
        assert sock.recv(8, socket.MSG_WAITALL) == b"SSH-2.0-"


def test_a_stream_over_tls_is_always_resumable(secured: Fake, kled: Kled) -> None:
    for words in (("--kind", "tcp", "--port", "80"), (), ("--listen", "0")):
        done = kled("stream", "dev", *words, "--resume", "never")
        assert done.returncode == 2
        assert "--resume never cannot be used over TLS" in one_line(done.stderr)
    assert not secured.requests


def test_an_untrusted_certificate(secured: Fake, kled: Kled) -> None:
    profile.save(secured.env(), profile.load(secured.env())._replace(ca_file=None))
    done = kled("stream", "dev", "--kind", "tcp", "--port", "80")
    assert done.returncode == 7
    assert "--ca-file" in one_line(done.stderr)


def test_a_proxy(signed_in: Fake, kled: Kled) -> None:
    env = {
        "KLED_URL": f"http://coordinator.test:{signed_in.port}",
        "KLED_TOKEN": TOKEN,
        "HTTP_PROXY": f"http://proxy:secret@127.0.0.1:{signed_in.port}",
    }
    # The fake behind the proxy echoes bytes; it speaks no resumption.
    words = ("stream", "dev", "--kind", "tcp", "--port", "80", *PLAIN)
    done = kled(*words, input=b"through", env=env)
    assert done.stdout == b"through", done.stderr
    assert signed_in.requests[0][0] == "CONNECT"
    env["HTTP_PROXY"] = env["HTTP_PROXY"].replace("secret", "wrong")
    done = kled(*words, input=b"through", env=env)
    assert done.returncode == 7
    assert "407" in one_line(done.stderr)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b'HTTP/1.1 426 X\r\nContent-Length: 40\r\n\r\n{"error": {"code": "x", "message": "no"}}',
    ],
)
def test_a_proxy_that_strips_the_upgrade(signed_in: Fake, kled: Kled, answer: bytes) -> None:
    signed_in.stream = answer
    # The fake's WebSocket is a bare echo; a resumable stream in one: tests/e2e/test_idle.py.
    words = ("stream", "dev", "--kind", "tcp", "--port", "80", *PLAIN)
    done = kled(*words, input=BLOB[:100_000])
    assert done.returncode == 0, done.stderr
    assert done.stdout == BLOB[:100_000]


def test_a_stripping_proxy_and_fdpass(signed_in: Fake) -> None:
    signed_in.stream = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"
    sock, _ = fdpass(signed_in, "dev.kled", "--resume", "never")
    echo(sock)


def test_refusals_are_one_line(signed_in: Fake, kled: Kled) -> None:
    refused = kled(
        "stream", "dev", "--kind", "tcp", "--port", "80", *PLAIN, env={"KLED_TOKEN": "kled_bad"}
    )
    assert refused.returncode == 3
    assert one_line(refused.stderr) == "error: this token was revoked (kled login)\n"
    assert kled("stream", "dev", "--what").returncode == 2
    assert kled("stream").returncode == 2
    signed_in.stream = b"SMTP ready\r\n\r\n"
    foreign = kled("stream", "dev", "--kind", "tcp", "--port", "80", *PLAIN)
    assert "does not speak HTTP" in one_line(foreign.stderr)
    signed_in.stream = b""
    assert "without an answer" in one_line(
        kled("stream", "dev", "--kind", "tcp", "--port", "80", *PLAIN).stderr
    )


def test_nobody_is_there(home: Path, kled: Kled) -> None:
    done = kled("stream", "dev")
    assert done.returncode == 3
    assert "kled login" in one_line(done.stderr)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = kled("stream", "dev", env={"KLED_URL": url, "KLED_TOKEN": TOKEN})
    assert done.returncode == 7
    assert "Connection refused" in one_line(done.stderr)


def test_a_reader_that_goes_away_is_no_error(signed_in: Fake) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "kled_client",
            "stream",
            "dev",
            "--kind",
            "tcp",
            "--port",
            "80",
            *PLAIN,
        ],
        env={**signed_in.env(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdin, process.stdout, process.stderr:
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        process.stdin.write(b"y")
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


def test_no_process_stays_when_ssh_is_gone(signed_in: Fake) -> None:
    signed_in.first = b"early"
    sock, process = fdpass(signed_in, "dev.kled")
    sock.close()
    deadline = time.monotonic() + 10
    while children_named(process.args):
        assert time.monotonic() < deadline, "the pump is still there"
        time.sleep(0.05)


def children_named(arguments: object) -> list[int]:
    """Processes with exactly this command line and our home directory."""
    assert isinstance(arguments, list)
    wanted = list(map(os.fspath, arguments))
    return [process.pid for process in psutil.process_iter() if command_line(process) == wanted]
