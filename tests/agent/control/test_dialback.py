"""A dial request becomes a stream or an answer that says why not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from kled_agent.control.dialback import Dialback
from kled_agent.control.grants import Grants
from kled_agent.control.resumption import ResumeLimits, Resumption, StreamHandler
from kled_wire.control import messages, standby
from kled_wire.control.link import LinkClosed
from kled_wire.errors import NotFoundError
from kled_wire.eventlog import EventLog
from kled_wire.http import upgrade
from kled_wire.transport.address import parse_url
from kled_wire.transport.prefixed import PrefixedStream
from tests.agent.conftest import Records
from tests.agent.control.coordinator import Answer, Coordinator, refuse, say, serving


class FakeLink:
    """Remembers what was sent."""

    def __init__(self, *, closed: bool = False) -> None:
        self.sent: list[messages.Message] = []
        self.told = trio.Event()
        self._closed = closed

    async def send(self, message: messages.Message) -> None:
        await trio.lowlevel.checkpoint()
        self.told.set()
        if self._closed:
            raise LinkClosed(1006, "")
        self.sent.append(message)


async def _echo(stream: trio.abc.HalfCloseableStream, _dial: messages.Dial, _log: EventLog) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)
    await stream.send_eof()


@asynccontextmanager
async def _dialback(
    log: EventLog, answer: Answer, handler: StreamHandler = _echo, *, dial_s: float = 15.0
) -> AsyncIterator[tuple[Dialback, Coordinator]]:
    async with serving(answer) as coordinator, trio.open_nursery() as nursery:
        grants = Grants()
        resumption = Resumption(nursery, ResumeLimits(), grants)
        url, handlers = parse_url(coordinator.url), {"ssh": handler}
        yield (
            Dialback(nursery, url, handlers, resumption, grants, log, dial_s=dial_s),
            coordinator,
        )
        nursery.cancel_scope.cancel()


async def _settle(dialback: Dialback) -> None:
    with trio.fail_after(10):
        while dialback.open_streams:
            await trio.sleep(0.005)


async def test_the_stream_is_dialled_with_the_ticket_and_served(log: EventLog) -> None:
    got = trio.Event()

    async def answer(_head: upgrade.RequestHead, stream: PrefixedStream) -> None:
        stream.take_prefix()
        await stream.send_all(upgrade.encode_switching() + b"with ")
        await stream.send_all(b"more")
        await stream.send_eof()
        text = b""
        while data := await stream.receive_some():
            text += data
        assert text == b"with more"
        got.set()

    link = FakeLink()
    async with _dialback(log, answer) as (dialback, coordinator):
        dialback.accept_nowait(messages.Dial(ticket="tick", kind="ssh"), link)  # type: ignore[arg-type]  # a fake
        assert dialback.open_streams == 0
        with trio.fail_after(10):
            await got.wait()
        await _settle(dialback)
    [head] = coordinator.heads
    assert (head.path, head.upgrade) == ("/api/v1/agent/stream", "kled-stream")
    assert head.headers["authorization"] == "Kled-Ticket tick"
    assert link.sent == []


async def test_an_unknown_kind_is_refused_without_dialling(log: EventLog) -> None:
    link = FakeLink()
    async with _dialback(log, say(b"")) as (dialback, coordinator):
        dialback.accept_nowait(messages.Dial(ticket="t", kind="x11"), link)  # type: ignore[arg-type]
        await link.told.wait()
        assert coordinator.heads == []
    [failed] = link.sent
    assert isinstance(failed, messages.DialFailed)
    assert (failed.ticket, failed.code) == ("t", "kind_unsupported")


async def test_a_refused_ticket_is_told_over_the_link(log: EventLog) -> None:
    link = FakeLink()
    answer = refuse(NotFoundError("ticket_unknown", "no such ticket"))
    async with _dialback(log, answer) as (dialback, _):
        dialback.accept_nowait(messages.Dial(ticket="t", kind="ssh"), link)  # type: ignore[arg-type]
        await link.told.wait()
        await _settle(dialback)
    assert link.sent == [
        messages.DialFailed(ticket="t", code="ticket_unknown", message="no such ticket")
    ]


async def test_a_data_plane_that_is_silent_is_given_up(log: EventLog) -> None:
    async def silent(_head: upgrade.RequestHead, _stream: PrefixedStream) -> None:
        await trio.sleep_forever()

    link = FakeLink()
    async with _dialback(log, silent, dial_s=0.05) as (dialback, _):
        dialback.accept_nowait(messages.Dial(ticket="t", kind="ssh"), link)  # type: ignore[arg-type]
        await link.told.wait()
    [failed] = link.sent
    assert isinstance(failed, messages.DialFailed)
    assert failed.code == "dial_timeout"


@pytest.mark.parametrize("said", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 \xb2\xb2\xb2 x\r\n\r\n"])
async def test_a_strange_data_plane_is_told_over_the_link(log: EventLog, said: bytes) -> None:
    link = FakeLink()
    async with _dialback(log, say(said)) as (dialback, _):
        dialback.accept_nowait(messages.Dial(ticket="t", kind="ssh"), link)  # type: ignore[arg-type]
        await link.told.wait()
    assert [type(m) for m in link.sent] == [messages.DialFailed]


async def test_a_link_that_has_ended_cannot_be_told_and_nothing_happens(log: EventLog) -> None:
    link = FakeLink(closed=True)
    async with _dialback(log, say(b"")) as (dialback, _):
        dialback.accept_nowait(messages.Dial(ticket="t", kind="x"), link)  # type: ignore[arg-type]
        await link.told.wait()


async def test_a_bug_in_one_stream_leaves_the_others_alone(log: EventLog, records: Records) -> None:
    async def answer(_head: upgrade.RequestHead, stream: PrefixedStream) -> None:
        stream.take_prefix()
        await stream.send_all(upgrade.encode_switching())
        while await stream.receive_some():
            pass

    async def crash(
        stream: trio.abc.HalfCloseableStream, _dial: messages.Dial, _log: EventLog
    ) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async with _dialback(log, answer, crash) as (dialback, _):
        for _ in range(2):
            dialback.accept_nowait(messages.Dial(ticket="t", kind="ssh"), FakeLink())  # type: ignore[arg-type]
            with trio.fail_after(10):
                while not records.having("stream_failed"):
                    await trio.sleep(0.005)
            records.lines.clear()
        await _settle(dialback)


async def test_an_idle_connection_becomes_the_stream_it_is_told_to_be(log: EventLog) -> None:
    got = trio.Event()

    async def answer(_head: upgrade.RequestHead, stream: PrefixedStream) -> None:
        stream.take_prefix()
        await stream.send_all(upgrade.encode_switching())
        frame = standby.encode_dial(messages.Dial(ticket="", kind="ssh"))
        await stream.send_all(frame[:7])
        await stream.send_all(frame[7:] + b"with it")
        text = b""
        while len(text) < len(b"with it"):
            text += await stream.receive_some()
        assert text == b"with it"
        assert dialback.open_streams == 1
        got.set()

    async with _dialback(log, answer) as (dialback, _):
        link = FakeLink()
        dialback.accept_nowait(messages.Dial(ticket="t", kind=standby.KIND), link)  # type: ignore[arg-type]  # a fake
        with trio.fail_after(10):
            await got.wait()
        assert link.sent == []


async def test_an_idle_connection_belongs_to_the_user_whose_stream_it_becomes(
    log: EventLog,
) -> None:
    served: list[str] = []
    done = trio.Event()

    async def answer(_head: upgrade.RequestHead, stream: PrefixedStream) -> None:
        stream.take_prefix()
        dial = messages.Dial(ticket="", kind="ssh", user="usr_2")
        await stream.send_all(upgrade.encode_switching() + standby.encode_dial(dial))
        await done.wait()

    async def handler(
        _stream: trio.abc.HalfCloseableStream, dial: messages.Dial, _log: EventLog
    ) -> None:
        await trio.lowlevel.checkpoint()
        served.append(dial.user)
        done.set()

    async with _dialback(log, answer, handler) as (dialback, _):
        asked = messages.Dial(ticket="t", kind=standby.KIND, user="usr_1")
        dialback.accept_nowait(asked, FakeLink())  # type: ignore[arg-type]  # a fake
        with trio.fail_after(10):
            await done.wait()
    assert served == ["usr_2"]


@pytest.mark.parametrize("frame", [b"", b"\xff\xff\xff\xff", b"\0\0\0\1\0"])
async def test_an_idle_connection_that_is_let_go_is_no_stream(log: EventLog, frame: bytes) -> None:
    ended = trio.Event()

    async def answer(_head: upgrade.RequestHead, stream: PrefixedStream) -> None:
        await stream.send_all(upgrade.encode_switching() + frame)
        await stream.send_eof()
        while await stream.receive_some():
            pass
        ended.set()

    async with _dialback(log, answer) as (dialback, _):
        link = FakeLink()
        dialback.accept_nowait(messages.Dial(ticket="t", kind=standby.KIND), link)  # type: ignore[arg-type]  # a fake
        with trio.fail_after(10):
            await ended.wait()
        assert dialback.open_streams == 0
