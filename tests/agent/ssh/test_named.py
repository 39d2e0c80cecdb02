"""Named sessions through the real OpenSSH client, which needs nothing but two variables."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest
import trio
import trio_asyncio

from kled_agent.sessions.directory import SessionDirectory, SessionSettings
from kled_client.ssh.channel import Channel
from kled_client.ssh.connection import aio, open_channel
from kled_wire.eventlog import EventLog
from tests.agent.conftest import Records
from tests.agent.ssh.site import Site

SEND = ["-oSendEnv=KLED_CLIENT_*"]


@pytest.fixture
def named(site: Site, log: EventLog) -> Iterator[SessionDirectory]:
    settings = SessionSettings(directory=site.home / "state" / "sessions", limit=2)
    directory = SessionDirectory(settings=settings, children=site.children, log=log)
    directory.open()
    host = site.host
    host._defaults = dataclasses.replace(host._defaults, named=directory)
    yield directory
    directory.end_all()
    directory.close()


class Attached:
    """An ssh that is attached to a session, driven through its streams."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.seen = bytearray()

    async def type(self, text: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(text.encode())

    async def read_until(self, wanted: str) -> None:
        assert self.process.stdout is not None
        with trio.fail_after(20):
            while wanted.encode() not in self.seen:
                data = await self.process.stdout.receive_some()
                assert data, bytes(self.seen)
                self.seen += data


@asynccontextmanager
async def attached(site: Site, name: str = "main", mode: str = "") -> AsyncIterator[Attached]:
    sent = f"-oSetEnv=KLED_CLIENT_SESSION={name} KLED_CLIENT_SESSION_MODE={mode}"
    argv = ["ssh", *site.options(), sent, "-tt", "any@ws.kled"]
    process = await trio.lowlevel.open_process(argv, stdin=-1, stdout=-1)
    try:
        yield Attached(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                await stream.aclose()


async def ask(site: Site, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = await site.ssh("-s", "kled-session", stdin=lines.encode())
    assert done.returncode == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_a_session_outlives_its_client_and_is_found_again(
    site: Site, named: SessionDirectory
) -> None:
    async with attached(site) as one:
        await one.type("echo $KLED_SESSION $KLED_WORKSPACE pid-$$-\n")
        await one.read_until("main ws pid-")
    (found,) = await named.list()
    async with attached(site) as again:
        await again.type("echo again-$$-\n")
        await again.read_until(f"again-{found.shell_pid}-")
        assert b"main ws pid-" in again.seen  # what was on the screen
        await again.type("exit 7\n")
        assert await again.process.wait() == 7
    with trio.fail_after(5):
        while named.living():
            await trio.sleep(0.02)


async def test_two_clients_and_one_that_watches(site: Site, named: SessionDirectory) -> None:
    async with attached(site) as one:
        await wait_for_sessions(named, 1)
        await watch_and_type(site, one)


async def watch_and_type(site: Site, one: Attached) -> None:
    async with attached(site) as other, attached(site, mode="ro") as watcher:
        await one.type("echo from-on''e\n")
        for each in (one, other, watcher):
            await each.read_until("from-one")
        await watcher.type("echo from-watche''r\n")
        await other.type("echo from-othe''r\n")
        for each in (one, other, watcher):
            await each.read_until("from-other")
        assert b"from-watcher" not in one.seen


@pytest.mark.parametrize("mode", ["ro", "join"])
async def test_who_watches_or_joins_starts_nothing(
    site: Site, named: SessionDirectory, mode: str
) -> None:
    sent = {"KLED_CLIENT_SESSION": "nothing", "KLED_CLIENT_SESSION_MODE": mode}
    done = await site.ssh("-tt", options=SEND, env=sent)
    assert (done.returncode, named.living()) == (4, [])
    assert b"there is no session nothing" in done.stderr


@pytest.mark.parametrize(
    ("name", "mode", "status", "text"),
    [
        ("../up", "", 2, b"is not a session name"),
        ("x" * 40, "", 2, b"is not a session name"),
        ("main", "rx", 2, b"rw, ro or join"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    site: Site, named: SessionDirectory, name: str, mode: str, status: int, text: bytes
) -> None:
    sent = {"KLED_CLIENT_SESSION": name, "KLED_CLIENT_SESSION_MODE": mode}
    done = await site.ssh("-tt", options=SEND, env=sent)
    assert done.returncode == status
    assert text in done.stderr


async def test_too_many_sessions_are_refused_and_a_killed_one_makes_room(
    site: Site, named: SessionDirectory
) -> None:
    async with attached(site, "one") as one, attached(site, "two"):
        await one.type("echo the''re\n")
        await one.read_until("there")
        await wait_for_sessions(named, 2)
        done = await site.ssh("-tt", options=SEND, env={"KLED_CLIENT_SESSION": "three"})
        assert done.returncode == 6
        assert b"there are 2 named sessions here, which is the limit" in done.stderr
        assert await ask(site, {"op": "kill", "name": "one"}) == [{"ok": True}]
        assert await one.process.wait() != 0
    done = await site.ssh(
        "-tt", options=SEND, env={"KLED_CLIENT_SESSION": "three"}, stdin=b"exit 3\n"
    )
    assert done.returncode == 3


async def wait_for_sessions(named: SessionDirectory, number: int) -> None:
    with trio.fail_after(10):
        while len(named.living()) < number:
            await trio.sleep(0.02)


async def test_sessions_are_listed_renamed_read_and_killed(
    site: Site, named: SessionDirectory
) -> None:
    async with attached(site) as one:
        await one.type("seq 1 20000; echo do''ne\n")
        await one.read_until("done")
        (answer,) = await ask(site, {"op": "list"})
        (found,) = answer["sessions"]
        assert (found["name"], found["program"], found["clients"]) == ("main", "sh", 1)
        assert await ask(
            site,
            {"op": "rename", "name": "main", "to": "work"},
            {"op": "rename", "name": "main", "to": "other"},
            {"op": "rename", "name": "work", "to": "No"},
        ) == [
            {"ok": True},
            {"ok": False, "error": error("session_not_found", 404)},
            {"ok": False, "error": error("name_invalid", 422)},
        ]
        *data, last = await ask(site, {"op": "log", "name": "work"})
        assert last == {"ok": True}
        log = b"".join(base64.b64decode(line["data"]) for line in data)
        assert b"\r\n".join(b"%d" % n for n in range(1, 20001)) in log
        (piece, last) = await ask(site, {"op": "log", "name": "work", "bytes": 7})
        assert base64.b64decode(piece["data"]) == log[-7:]
        # A renamed session is still the same one.
        await one.type("echo sti''ll\n")
        await one.read_until("still")
        assert await ask(site, {"op": "kill", "name": "work"}) == [{"ok": True}]
        await one.process.wait()
    assert await ask(site, {"op": "list"}) == [{"ok": True, "sessions": []}]


def error(code: str, status: int) -> Any:
    class Same(dict[str, Any]):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, dict) and (other["code"], other["status"]) == (code, status)

        __hash__ = None  # it is no key

    return Same()


async def test_rubbish_on_the_subsystem_is_answered_not_obeyed(
    site: Site, named: SessionDirectory
) -> None:
    done = await site.ssh("-s", "kled-session", stdin=b'nonsense\n[]\n{"op":"dance"}\n\xff\n')
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a["error"]["code"] for a in answers] == ["session_request_invalid"] * 4
    done = await site.ssh("-s", "kled-session", stdin=b"x" * 10_000)
    assert (done.returncode, done.stdout) == (0, b"")


async def test_a_bug_on_the_subsystem_ends_its_channel_alone(
    site: Site, named: SessionDirectory, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with attached(site) as one:

        async def crash(_self: SessionDirectory) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(SessionDirectory, "list", crash)
        assert (await site.ssh("-s", "kled-session", stdin=b'{"op":"list"}\n')).returncode != 0
        assert "ZeroDivisionError" in records.having("session_control_failed")[0]
        await one.type("exit 5\n")
        assert await one.process.wait() == 5


async def test_without_a_place_for_them_there_are_none(site: Site) -> None:
    done = await site.ssh("-tt", options=SEND, env={"KLED_CLIENT_SESSION": "main"})
    assert done.returncode == 7
    assert b"does not support named sessions" in done.stderr


async def test_a_command_with_the_variable_is_just_a_command(
    site: Site, named: SessionDirectory
) -> None:
    done = await site.ssh("-tt", "echo it", options=SEND, env={"KLED_CLIENT_SESSION": "main"})
    assert (done.stdout, named.living()) == (b"it\r\n", [])


async def test_a_holder_that_dies_is_told_and_cleared_away(
    site: Site, named: SessionDirectory, records: Records
) -> None:
    async with attached(site) as one:
        await one.type("echo the''re\n")
        await one.read_until("there")
        (held,) = named.living()
        await trio.run_process(["kill", "-9", str(held.pid)])
        assert await one.process.wait() == 1
    with trio.fail_after(5):
        while named.living():
            await trio.sleep(0.02)
    assert records.having("session_found_dead")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["main", None])
async def test_ctrl_c_under_a_flood_is_seen_at_once_by_a_slow_client(
    site: Site, named: SessionDirectory, name: str | None
) -> None:
    """Our own client, reading 1 MB/s, gets the prompt after what was under way, about 60 KB."""
    folder = site.keys.folder
    options = {
        "port": site.port, "config": None, "username": "any", "agent_path": None,
        "client_keys": [(str(folder / "user"), str(folder / "good-cert.pub"))],
        "known_hosts": None,
    }  # fmt: skip
    async with trio_asyncio.open_loop():
        connection = await aio(asyncssh.connect, "127.0.0.1", **options)
        channel = await open_channel(
            connection,
            None,
            env={} if name is None else {"KLED_CLIENT_SESSION": name},
            terminal=("xterm", 80, 24),
        )
        await channel.send(b"PS1='pro''mpt> '\nyes flood\n")
        await read_slowly(channel, b"\r\nflood\r\n")
        with trio.move_on_after(2):
            await read_slowly(channel, b"never")
        await channel.send(b"\x03")
        with trio.fail_after(10):
            seen = await read_slowly(channel, b"prompt> ")
        # Of a window of 2 MiB; how much the kernel holds besides depends on the load.
        assert len(seen) < 500_000
        assert (b"KB skipped, `kled session log main` shows them]" in seen) == (name is not None)
        channel.close()
        connection.close()
        await aio(connection.wait_closed)


async def read_slowly(channel: Channel, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        received = await channel.receive()
        assert received is not None
        seen += received[0]
        await trio.sleep(len(received[0]) / 1e6)
    return seen
