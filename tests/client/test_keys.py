"""`kled key`, `kled known-hosts` and `kled stream --listen` against a fake coordinator."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import asyncssh
import pytest
import trio
import trio.testing

from kled_client.cli.known_hosts import pattern
from kled_client.stream.listen import serve_streams
from kled_wire.errors import InputError, UnavailableError
from tests.client.conftest import ROOT, Kled, one_line
from tests.client.fake import Fake, problem, workspace

KEYS = "/api/v1/keys"
KEY = {
    "id": "key_aaaaaaaaaaaaaaaaaaaa",
    "name": "laptop",
    "public_key": "ssh-ed25519 AAAA",
    "fingerprint": "SHA256:xyz",
    "workspace": None,
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-04-01T00:00:00Z",
    "last_used_at": None,
}


def last_body(fake: Fake, method: str, path: str) -> dict[str, object]:
    bodies = (body for m, p, body in reversed(fake.requests) if (m, p) == (method, path))
    return dict(json.loads(next(bodies)))


def test_a_key_is_registered_listed_and_removed(fake: Fake, kled: Kled) -> None:
    fake.sign_in()
    fake.routes["POST", KEYS] = 201, {**KEY, "unanswered": []}
    fake.routes["GET", KEYS] = 200, [KEY]
    fake.routes["DELETE", f"{KEYS}/{KEY['id']}"] = 200, {**KEY, "unanswered": ["web"]}
    line = b"ssh-ed25519 AAAA laptop\n"
    options = ("--name", "l", "--workspace", "alice/dev", "--lifetime", "12h")
    assert kled("key", "add", "-", *options, input=line).returncode == 0
    assert last_body(fake, "POST", KEYS) == {
        "public_key": "ssh-ed25519 AAAA laptop",
        "name": "l",
        "workspace": "dev.alice",
        "lifetime_s": 12 * 3600,
    }
    assert kled("key", "add", "-", input=line).returncode == 0
    assert last_body(fake, "POST", KEYS) == {"public_key": "ssh-ed25519 AAAA laptop"}
    assert json.loads(kled("-o", "json", "key", "list").stdout) == [KEY]
    done = kled("key", "remove", str(KEY["id"]))
    assert done.returncode == 0
    assert b"have not answered and may let it in for ten minutes more: web" in done.stderr


def test_a_private_key_stays_here(fake: Fake, kled: Kled) -> None:
    fake.sign_in()
    pem = b"-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n"
    done = kled("key", "add", "-", input=pem)
    assert done.returncode == 2
    assert "is a private key" in one_line(done.stderr)
    assert "secret" not in done.stderr.decode()
    assert not any(path == KEYS for _, path, _ in fake.requests)


def test_an_old_sign_in_is_said_with_what_to_do(fake: Fake, kled: Kled) -> None:
    fake.sign_in()
    fake.routes["POST", KEYS] = problem(403, "sign_in_needed", "takes a sign-in", "kled login")
    done = kled("key", "add", "-", input=b"ssh-ed25519 AAAA")
    assert (done.returncode, one_line(done.stderr)) == (3, "error: takes a sign-in (kled login)\n")
    assert kled("key", "remove", "ssh-ed25519").returncode == 2


# --- the host key


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("dev.kled", "dev.kled"),
        ("127.0.0.1:2222", "[127.0.0.1]:2222"),
        ("127.0.0.1:22", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::1]:2222", "[::1]:2222"),
    ],
)
def test_a_host_is_named_as_known_hosts_does(said: str, named: str) -> None:
    assert pattern(said) == named


@pytest.mark.parametrize("said", ["", ":22", "a b", "*.kled", "a,b", "h:0", "h:x", "h:70000", "#"])
def test_a_host_that_would_mean_more_is_refused(said: str) -> None:
    with pytest.raises(InputError):
        pattern(said)


def test_the_host_key_is_the_one_that_was_proven(fake: Fake, kled: Kled) -> None:
    fake.sign_in()
    fake.stream = "ssh"
    done = kled("known-hosts", "dev", "--host", "127.0.0.1:2222", "--host", "dev")
    assert done.returncode == 0, done.stderr
    key = re.fullmatch(rb"\[127\.0\.0\.1\]:2222,dev (ssh-\S+ \S+)\n", done.stdout)
    assert key is not None, done.stdout
    assert asyncssh.import_public_key(key[1]).get_fingerprint().encode() in done.stderr
    raw = json.loads(kled("-o", "json", "known-hosts", "dev").stdout)
    assert raw["hosts"] == ["dev.kled"]
    assert asyncssh.import_public_key(raw["key"]).get_fingerprint() == raw["fingerprint"]


# --- listening


@contextmanager
def listening(fake: Fake, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`kled stream --listen` on a free port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kled_client", "stream", "dev", *words],
        env={**fake.env(), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.fullmatch(rb"listening on 127\.0\.0\.1:(\d+)\n", said)
            assert found is not None, (said, process.stderr and process.stderr.read())
            yield process, int(found[1])
        finally:
            process.terminate()


def echoed(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    got = b""
    while part := connection.recv(65536):
        got += part
    return got


@pytest.mark.parametrize("resume", ["never", "always"])
def test_each_connection_is_a_stream_and_the_end_of_one_is_its_own(fake: Fake, resume: str) -> None:
    fake.sign_in()
    fake.routes["GET", "/api/v1/workspaces/dev"] = 200, workspace()
    with listening(fake, "--listen", "0") as (process, port):
        place = ("127.0.0.1", port)
        with socket.create_connection(place, 10) as one, socket.create_connection(place, 10) as two:
            assert echoed(two, b"2" * 100_000) == b"2" * 100_000
            assert echoed(one, b"1") == b"1"
        error = json.dumps(problem(503, "agent_not_connected", "gone")[1]).encode()
        head = b"HTTP/1.1 503 x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        fake.stream = head % len(error) + error
        with socket.create_connection(place, 10) as refused:
            assert refused.recv(10) == b""
        fake.stream = "echo"
        with socket.create_connection(place, 10) as again:
            assert echoed(again, b"3") == b"3"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_what_a_person_must_mend_is_said_before_it_listens(fake: Fake, kled: Kled) -> None:
    fake.sign_in()
    fake.routes["GET", "/api/v1/workspaces/dev"] = problem(404, "workspace_not_found", "no dev")
    done = kled("stream", "dev", "--listen", "127.0.0.1:0")
    assert (done.returncode, one_line(done.stderr)) == (4, "error: no dev\n")
    for wrong in (["--listen", "2000-2010"], ["--listen", "x"], ["--listen=0", "--fdpass"]):
        assert kled("stream", "dev", *wrong).returncode == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        fake.routes["GET", "/api/v1/workspaces/dev"] = 200, workspace()
        done = kled("stream", "dev", "--listen", str(taken.getsockname()[1]))
    assert done.returncode == 5
    assert "in use" in one_line(done.stderr)


async def test_a_stream_that_cannot_be_opened_is_reported_and_the_next_one_served() -> None:
    there, far = trio.testing.memory_stream_pair()
    streams: list[trio.abc.HalfCloseableStream] = [there]
    reported: list[str] = []

    async def open_stream(_nursery: trio.Nursery) -> trio.abc.HalfCloseableStream:
        await trio.lowlevel.checkpoint()
        if len(reported) < 1:
            raise UnavailableError("agent_not_connected", "not connected", hint="start it")
        return streams.pop()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_streams, listeners, open_stream, reported.append)
        async with await trio.testing.open_stream_to_socket_listener(listeners[0]) as first:
            assert await first.receive_some() == b""
        assert reported == ["not connected (start it)"]
        async with await trio.testing.open_stream_to_socket_listener(listeners[0]) as second:
            await far.send_all(b"hello")
            assert await second.receive_some() == b"hello"
        nursery.cancel_scope.cancel()
