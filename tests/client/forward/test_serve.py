"""Forwards over a fake workspace: counting, half-close, SOCKS, lost connections."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from rich.console import Console

from kled_client.forward.hold import ForwardPlan, hold_forwards
from kled_client.forward.link import Link, hold_link
from kled_client.forward.serve import ForwardStatus, listening_here, serve_here
from kled_client.forward.spec import End, ForwardKind, TcpEnd, parse_forward
from kled_client.forward.view import ForwardView, amount, columns, describe
from kled_client.output import Output
from kled_client.ssh.channel import Channel
from kled_wire.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    UnauthenticatedError,
    UnavailableError,
)


class FakeConnection:
    """What `open` gives answers in capitals once it was told all; `refused` ends are not there."""

    def __init__(self, nursery: trio.Nursery, *refused: str) -> None:
        self._nursery = nursery
        self._refused = refused
        self._lost = trio.Event()
        self.opened: list[str] = []
        self.accepts: list[Callable[[trio.abc.HalfCloseableStream], None]] = []

    @property
    def is_lost(self) -> bool:
        return self._lost.is_set()

    def lose(self) -> None:
        self._lost.set()

    async def wait_lost(self) -> None:
        await self._lost.wait()

    async def open(self, end: End) -> trio.abc.HalfCloseableStream:
        await trio.lowlevel.checkpoint()
        if self.is_lost or str(end) in self._refused:
            raise UnavailableError("forward_refused", f"no {end}")
        self.opened.append(str(end))
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(answer, theirs)
        return ours

    @asynccontextmanager
    async def listening(
        self, end: End, accept: Callable[[trio.abc.HalfCloseableStream], None]
    ) -> AsyncIterator[End]:
        self.accepts.append(accept)
        yield end

    async def subsystem(self, name: str) -> Channel:
        raise UnavailableError("session_refused", name)


async def answer(stream: trio.abc.HalfCloseableStream) -> None:
    data = b""
    while chunk := await stream.receive_some():
        data += bytes(chunk)
    await stream.send_all(data.upper())
    await stream.send_eof()


async def ask(stream: trio.abc.HalfCloseableStream, text: bytes) -> bytes:
    async with stream:
        await stream.send_all(text)
        await stream.send_eof()
        return await read_all(stream)


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    data = b""
    while chunk := await stream.receive_some():
        data += bytes(chunk)
    return data


async def dial(end: End) -> trio.SocketStream:
    assert isinstance(end, TcpEnd)
    return await trio.open_tcp_stream(end.host, end.port)


@asynccontextmanager
async def served(
    spec: str, kind: ForwardKind = ForwardKind.LOCAL, refused: str = ""
) -> AsyncIterator[tuple[ForwardStatus, FakeConnection]]:
    async with trio.open_nursery() as nursery:
        (forward,) = parse_forward(spec, kind)
        fake, link = FakeConnection(nursery, refused), Link()
        async with listening_here(forward) as (listeners, status), link.holding(fake):
            nursery.start_soon(serve_here, listeners, status, link)
            yield status, fake
            nursery.cancel_scope.cancel()


async def test_bytes_and_connections_are_counted_and_the_end_is_passed_on() -> None:
    async with served("0:db:3000") as (status, fake):
        assert await ask(await dial(status.listen), b"hello") == b"HELLO"
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert fake.opened == ["db:3000"]
        assert (status.sent, status.received, status.total, status.open) == (5, 5, 1, 0)
        assert status.errors == 0


async def test_used_up_descriptors_are_counted_and_show_no_traceback(monkeypatch, caplog) -> None:
    accept = trio.SocketListener.accept
    failed: list[trio.SocketStream] = []

    async def accept_once_there_are_some(listener: trio.SocketListener) -> trio.SocketStream:
        stream = await accept(listener)
        if not failed:
            failed.append(stream)  # the kernel keeps it waiting, here it is dropped
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return stream

    monkeypatch.setattr(trio.SocketListener, "accept", accept_once_there_are_some)
    async with served("0:db:3000") as (status, _), await dial(status.listen):
        assert await ask(await dial(status.listen), b"hello") == b"HELLO"
        assert status.last_error == "connections wait: Too many open files"
        await failed[0].aclose()
    assert caplog.records == []


async def test_a_refused_connection_is_closed_and_counted() -> None:
    async with served("0:db:1", refused="db:1") as (status, _):
        async with await dial(status.listen) as stream:
            assert await read_all(stream) == b""
        assert (status.errors, status.last_error, status.open) == (1, "no db:1", 0)


async def test_a_unix_socket_is_the_users_alone_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with served(f"{path}:3000"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert await ask(await trio.open_unix_socket(str(path)), b"a") == b"A"
        with pytest.raises(ConflictError):
            async with listening_here(parse_forward(f"{path}:1")[0]):
                pass
    assert not path.exists()


async def test_what_cannot_be_listened_on() -> None:
    async with served("0:1") as (status, _):
        (again,) = parse_forward(f"{status.listen}:localhost:3000")
        with pytest.raises(ConflictError, match="in use") as caught:
            async with listening_here(again):
                pass
        assert "0:localhost:3000" in (caught.value.hint or "")
    for spec in ("192.0.2.1:1:1", "/no/such/place:1"):
        with pytest.raises(InputError):
            async with listening_here(parse_forward(spec)[0]):
                pass


async def test_socks() -> None:
    async with served("0", ForwardKind.DYNAMIC, refused="db:2") as (status, fake):
        greeting = b"\x05\x01\x00"
        request = b"\x05\x01\x00\x03\x02db\x00"
        stream = await dial(status.listen)
        reply = await ask(stream, greeting + request + b"\x01rest")
        assert reply == b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6) + b"REST"
        assert fake.opened == ["db:1"]
        refused = await ask(await dial(status.listen), greeting + request + b"\x02")
        assert refused == b"\x05\x00" + b"\x05\x05\x00\x01" + bytes(6)
        assert await ask(await dial(status.listen), b"GET /") == b""
        assert status.errors == 2


class FakeConnections:
    """Gives out connections, or errors, one after the other."""

    def __init__(self, nursery: trio.Nursery, *errors: Exception) -> None:
        self._nursery = nursery
        self._errors = list(errors)
        self.made: list[FakeConnection] = []

    def open(self) -> AbstractAsyncContextManager[FakeConnection]:
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[FakeConnection]:
        if self.made and self._errors:
            raise self._errors.pop(0)
        self.made.append(FakeConnection(self._nursery))
        yield self.made[-1]


async def nothing(connection: object, nursery: trio.Nursery) -> None:
    await trio.lowlevel.checkpoint()


async def test_a_lost_way_is_replaced_and_connections_wait(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        away = UnavailableError("agent_not_connected", "no agent")
        fake, link = (
            FakeConnections(nursery, away, ExceptionGroup("x", [away]), OSError("down")),
            Link(),
        )
        said: list[str] = []
        await nursery.start(hold_link, link, fake.open, nothing, said.append)
        fake.made[0].lose()
        stream = await link.open(TcpEnd(host="h", port=1))
        assert await ask(stream, b"x") == b"X"
        assert said == ["the connection was lost", ""]
        assert fake.made[1].opened == ["h:1"]
        nursery.cancel_scope.cancel()


async def test_a_way_that_is_lost_as_soon_as_it_is_there_is_made_so_often_in_a_minute(
    autojump_clock: object,
) -> None:
    async def lose_it(connection: object, nursery: trio.Nursery) -> None:
        assert isinstance(connection, FakeConnection)
        connection.lose()

    async with trio.open_nursery() as nursery:
        fake = FakeConnections(nursery)
        with trio.move_on_after(60.0):
            await nursery.start(hold_link, Link(), fake.open, lose_it, lambda _: None)
            await trio.sleep_forever()
        nursery.cancel_scope.cancel()
    assert 10 < len(fake.made) <= 22


async def test_without_a_way_a_connection_waits_only_so_long(autojump_clock: object) -> None:
    with pytest.raises(UnavailableError) as caught:
        await Link().open(TcpEnd(host="h", port=1))
    assert caught.value.code == "workspace_away"


async def test_what_a_person_must_mend_ends_it(autojump_clock: object) -> None:
    async def lose_it() -> None:
        async with trio.open_nursery() as nursery:
            fake = FakeConnections(nursery, UnauthenticatedError("token_revoked", "no"))
            await nursery.start(hold_link, Link(), fake.open, nothing, lambda _: None)
            fake.made[0].lose()

    with pytest.raises(ExceptionGroup) as caught:
        await lose_it()
    assert caught.group_contains(UnauthenticatedError)


async def test_the_first_error_is_the_callers() -> None:
    @asynccontextmanager
    async def refuse() -> AsyncIterator[FakeConnection]:
        raise ForbiddenError("forbidden", "no")
        yield

    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(hold_link, Link(), refuse, nothing, lambda _: None)
    assert caught.group_contains(ForbiddenError)


def receive_one(target: socket.socket) -> bytes:
    target.settimeout(10)
    link, _ = target.accept()
    with link:
        return link.recv(1)


async def test_all_is_held_up_and_the_workspaces_ends_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = ForwardView(Output(as_json=True), "dev")
    with socket.create_server(("127.0.0.1", 0)) as target:
        port = target.getsockname()[1]
        forwards = (*parse_forward("0:1"), *parse_forward(f"9:{port}", ForwardKind.REMOTE))
        async with trio.open_nursery() as nursery:
            fake = FakeConnections(nursery)
            plan = ForwardPlan(forwards=forwards, auto=True)
            nursery.start_soon(partial(hold_forwards, plan, fake.open, Link(), view))
            await trio.testing.wait_all_tasks_blocked(0.01)
            fake.made[0].lose()
            with trio.fail_after(10):
                while len(fake.made) < 2 or not fake.made[1].accepts:
                    await trio.sleep(0.01)
            ours, theirs = trio.testing.memory_stream_pair()
            fake.made[1].accepts[0](theirs)
            await ours.send_all(b"x")
            assert await trio.to_thread.run_sync(receive_one, target) == b"x"
            nursery.cancel_scope.cancel()
    events: list[dict[str, Any]] = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    names = [event["event"] for event in events]
    assert names.count("listening") == 2
    assert {"forwarding", "ports_unknown", "disconnected", "connected"} <= set(names)


def test_what_a_person_sees() -> None:
    local, remote = parse_forward("8080:3000")[0], parse_forward("9", ForwardKind.REMOTE)[0]
    proxy = parse_forward("1080", ForwardKind.DYNAMIC)[0]
    shown = [ForwardStatus(forward=f, listen=f.listen) for f in (local, remote, proxy)]
    assert [describe(status, "dev") for status in shown] == [
        "127.0.0.1:8080 -> dev localhost:3000  http://127.0.0.1:8080",
        "dev 127.0.0.1:9 -> localhost:9",
        "127.0.0.1:1080 -> dev (SOCKS5)",
    ]
    shown[0].failed("no answer")
    assert columns(shown)["ERRORS"] == ["1 (no answer)", "-", "-"]
    assert [amount(n) for n in (999, 1500, 2_000_000, 3 * 10**9, 10**13)] == [
        "999 B", "1.5 kB", "2.0 MB", "3.0 GB", "10.0 TB"
    ]  # fmt: skip


async def test_a_terminal_shows_a_table(autojump_clock: object) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    view = ForwardView(Output(results=console, notes=console), "dev")
    forward = parse_forward("8080:3000")[0]
    view.added(ForwardStatus(forward=forward, listen=forward.listen))
    with trio.move_on_after(2):
        await view.run()
    assert "127.0.0.1:8080" in screen.getvalue()
    assert "LEADS TO" in screen.getvalue()
