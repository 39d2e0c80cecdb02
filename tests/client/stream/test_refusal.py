"""Why there is no stream, as SSH clients show it: OpenSSH with each of its ways, and asyncssh."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_client.stream.fdpass import takes_descriptor
from kled_client.stream.refusal import IDENTIFICATION, encode_refusal
from kled_wire.errors import UnavailableError
from tests.client.conftest import ROOT, Kled
from tests.client.fake import Fake, problem
from tests.kit.terminal import Terminal

STOPPED = "the workspace dev is stopped (kled start dev)"
needs_openssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")


@given(st.text(), st.text())
def test_a_refusal_is_one_disconnect_message(message: str, hint: str) -> None:
    """The binary packet protocol without a cipher: RFC 4253, 6."""
    error = UnavailableError("x", message, hint=hint)
    packet = encode_refusal(error).removeprefix(IDENTIFICATION)
    length, padding = int.from_bytes(packet[:4], "big"), packet[4]
    assert len(packet) == 4 + length
    assert len(packet) % 8 == 0
    assert 4 <= padding <= 255
    payload = packet[5 : len(packet) - padding]
    assert payload[:5] == b"\x01\0\0\0\x07"
    size = int.from_bytes(payload[5:9], "big")
    assert payload[9 + size :] == bytes(4)
    shown = payload[9 : 9 + size].decode("ascii")
    assert shown.isprintable()
    assert shown == error.shown().encode("ascii", "replace").decode()[:400]


def stopped(fake: Fake) -> dict[str, str]:
    _, body = problem(409, "workspace_stopped", "the workspace dev is stopped", "kled start dev")
    content = json.dumps(body).encode()
    fake.stream = b"HTTP/1.1 409 X\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    return {}


def signed_out(_fake: Fake) -> dict[str, str]:
    return {"KLED_TOKEN": "kled_old"}


def nobody_listens(_fake: Fake) -> dict[str, str]:
    return {"KLED_TOKEN": "kled_goodtoken", "KLED_URL": "http://127.0.0.1:1"}


@pytest.fixture
def config(signed_in: Fake, kled: Kled, home: Path) -> Path:
    path = home / ".ssh" / "config"
    assert kled("config-ssh").returncode == 0
    assert signed_in.certificates == 1
    return path


def ssh(fake: Fake, config: Path, *words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["ssh", "-F", str(config), *words],
        env={**fake.env(), "PYTHONPATH": str(ROOT), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )


@needs_openssh
@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (stopped, STOPPED),
        (signed_out, "this token was revoked (kled login)"),
        (nobody_listens, "cannot reach 127.0.0.1:1: Connection refused"),
    ],
)
def test_openssh_shows_the_sentence(
    signed_in: Fake, config: Path, case: Callable[[Fake], dict[str, str]], sentence: str
) -> None:
    """Under ControlPersist, where standard error is closed: the block as it is."""
    assert_shown(ssh(signed_in, config, "dev.kled", "true", **case(signed_in)), sentence)


def assert_shown(done: subprocess.CompletedProcess[bytes], sentence: str) -> None:
    said = done.stderr.decode()
    assert done.returncode == 255
    assert sentence in said
    # What ssh says where it gets no connection, or nobody takes its greeting.
    assert "mm_receive_fd" not in said
    assert "write" not in said


@needs_openssh
@pytest.mark.parametrize(
    "options",
    [("-o", "ControlPersist=no"), ("-S", "none"), ("-o", "ProxyUseFdpass=no")],
    ids=" ".join,
)
def test_so_it_does_in_each_of_its_ways(
    signed_in: Fake, config: Path, options: tuple[str, ...]
) -> None:
    stopped(signed_in)
    assert_shown(ssh(signed_in, config, *options, "dev.kled", "true"), STOPPED)


@needs_openssh
def test_a_name_that_cannot_be_is_said_too(signed_in: Fake, config: Path) -> None:
    assert_shown(ssh(signed_in, config, "a_b!.kled", "true"), "'a_b!' is not a workspace name")


@needs_openssh
def test_a_person_at_a_terminal_reads_it(signed_in: Fake, config: Path) -> None:
    stopped(signed_in)
    env = {**signed_in.env(), "PYTHONPATH": str(ROOT)}
    terminal = Terminal(["ssh", "-F", str(config), "dev.kled"], env)
    terminal.wait_for(STOPPED)
    assert terminal.close() == 255


# Run apart: asyncssh leaves the ProxyCommand to a loop that is closed already.
_LIBRARY = """
import asyncio, asyncssh, sys
async def run():
    async with asyncssh.connect("dev.kled", config=[sys.argv[1]]) as connection:
        return (await connection.run("echo here")).stdout
try:
    print(asyncio.run(run()))
except asyncssh.DisconnectError as exc:
    print(exc)
"""


def library(fake: Fake, config: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", _LIBRARY, str(config)],
        env={**fake.env(), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        timeout=30,
        check=True,
        text=True,
    ).stdout


@pytest.mark.slow
def test_the_certificate_is_good_before_a_library_reads_it(
    signed_in: Fake, config: Path, home: Path
) -> None:
    """It does so before the ProxyCommand; the block renews it where it is old, and only there."""
    signed_in.stream = "ssh"
    identity = home / ".config/kled/ssh"
    (identity / "id_ed25519-cert.pub").write_text("spoiled\n")
    state = json.loads((identity / "certificate.json").read_text())
    (identity / "certificate.json").write_text(json.dumps({**state, "issued_at": 0}))
    os.utime(identity / "certificate.json", (0, 0))
    assert library(signed_in, config) == "here\n\n"
    assert signed_in.certificates == 2
    assert library(signed_in, config) == "here\n\n"
    assert signed_in.certificates == 2


def test_a_library_that_knows_no_fdpass_gets_in(signed_in: Fake, config: Path) -> None:
    """It reads the block and gives pipes; what goes wrong it learns in its own protocol."""
    signed_in.stream = "ssh"
    assert library(signed_in, config) == "here\n\n"
    stopped(signed_in)
    assert library(signed_in, config) == f"{STOPPED}\n"


def test_sockets_that_carry_bytes_are_not_asked_for_descriptors() -> None:
    """Node.js gives its programs a socket for each stream, ssh one for both."""
    (source, _a), (sink, _b) = socket.socketpair(), socket.socketpair()
    with source, sink, _a, _b:
        assert takes_descriptor(sink.fileno(), sink.fileno())
        assert not takes_descriptor(source.fileno(), sink.fileno())
    with socket.socket() as internet:
        assert not takes_descriptor(internet.fileno(), internet.fileno())
