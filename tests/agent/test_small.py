"""Users, systemd, the `tcp` kind, the sampler."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from kled_agent.machine.systemd import notify
from kled_agent.machine.users import load_user
from kled_agent.memory.sampler import sample_report
from kled_agent.tcp import serve_tcp
from kled_wire.control import messages
from kled_wire.errors import ConfigError
from kled_wire.eventlog import EventLog
from tests.agent.conftest import Records


def test_without_a_name_sessions_run_as_whoever_runs_the_agent() -> None:
    user = load_user(None)
    assert user.uid == os.geteuid()
    assert user.owns_us()
    assert user.popen_options() == {}
    assert load_user(None, shell="/bin/other").shell == "/bin/other"


def test_who_is_not_listed_is_asked_of_the_machine_and_else_is_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    getent = tmp_path / "getent"
    getent.write_text(
        "#!/bin/sh\ncase $1/$2 in\n"
        "passwd/ann) echo 'ann:*:4242:4343:Ann,,,:/home/ann:/bin/zsh' ;;\n"
        "initgroups/ann) echo 'ann  4343 4444' ;;\n"
        "*) exit 2 ;;\nesac\n"
    )
    getent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = load_user("ann")
    assert (user.uid, user.gid, user.home, user.shell) == (4242, 4343, "/home/ann", "/bin/zsh")
    assert user.groups == (4343, 4444)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    unlisted = load_user(None)
    assert (unlisted.name, unlisted.uid) == ("54321", 54321)
    assert (unlisted.home, unlisted.shell) == ("/", "/bin/sh")


def test_an_unknown_user_is_a_config_error() -> None:
    with pytest.raises(ConfigError) as caught:
        load_user("nobody-has-this-name")
    assert caught.value.code == "user_unknown"


def test_only_root_becomes_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid not in {0, os.geteuid()})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = load_user(other.pw_name)
    assert not user.owns_us()
    assert user.popen_options()["user"] == other.pw_uid
    assert user.popen_options()["group"] == other.pw_gid
    assert other.pw_gid in user.popen_options()["extra_groups"]
    monkeypatch.setattr(os, "geteuid", lambda: other.pw_uid + 1)
    with pytest.raises(ConfigError) as caught:
        load_user(other.pw_name)
    assert caught.value.code == "user_not_allowed"


def test_the_environment_begins_with_who_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLED_AGENT_TOKEN", "secret")
    environment = load_user(None, shell="/bin/sh").environment()
    assert environment["SHELL"] == "/bin/sh"
    assert {"HOME", "USER", "LOGNAME", "PATH"} <= set(environment)
    assert "secret" not in environment.values()


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"kled-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_a_service_manager_that_is_not_there_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")


def test_a_report_is_plausible() -> None:
    report = sample_report(4)
    assert 0 < report.memory_used_bytes < report.memory_total_bytes
    assert report.streams == 4


async def test_a_tcp_stream_leads_to_the_port_and_half_closes(log: EventLog) -> None:
    async def shout(stream: trio.SocketStream) -> None:
        async with stream:
            got = b""
            while data := await stream.receive_some():
                got += data
            await stream.send_all(got.upper())

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    near, far = (trio.SocketStream(s) for s in trio.socket.socketpair())
    async with near, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, shout, listeners)
        nursery.start_soon(
            serve_tcp, far, messages.Dial(ticket="t", kind="tcp", host="127.0.0.1", port=port), log
        )
        await near.send_all(b"hello")
        await near.send_eof()
        assert await near.receive_some() == b"HELLO"
        assert await near.receive_some() == b""
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", 1), ("127.0.0.1", 70_000), ("127.0.0.1", -1), ("a..b", 80), ("a" * 70, 80)],
)
async def test_a_tcp_stream_to_nowhere_ends_alone(
    log: EventLog, records: Records, host: str, port: int
) -> None:
    near, far = trio.testing.memory_stream_pair()
    with trio.fail_after(10):
        await serve_tcp(far, messages.Dial(ticket="t", kind="tcp", host=host, port=port), log)
    assert await near.receive_some() == b""
    assert len(records.having("tcp_ended")) == 1
