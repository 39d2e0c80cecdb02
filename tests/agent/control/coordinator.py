"""A fake coordinator on a loopback port: each request goes to the next answer of the test."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import trio
import trio_websocket

from kled_agent.machine.orphans import Children
from kled_agent.machine.users import load_user
from kled_agent.scripts.login import ScriptDirectory
from kled_agent.scripts.running import Runner
from kled_agent.scripts.service import Scripts
from kled_wire.control import codec, messages
from kled_wire.errors import KledError
from kled_wire.eventlog import EventLog
from kled_wire.http import upgrade
from kled_wire.http.headio import read_head
from kled_wire.transport.prefixed import PrefixedStream
from kled_wire.version import PROTOCOL

WELCOME = messages.Welcome(
    protocol=PROTOCOL, version="9", agent_id="agt_1", workspace_id="ws_1", workspace="dev",
    owner="alice", heartbeat_s=15.0,
)  # fmt: skip


def make_scripts(log: EventLog, directory: str = "/nowhere") -> Scripts:
    """An agent's scripts, numbered, run as whoever runs the tests."""
    numbers = itertools.count(1)
    runner = Runner(
        user=lambda: load_user(None, shell="/bin/sh"),
        environment={},
        children=Children(),
        place=ScriptDirectory(directory=directory),
    )
    return Scripts(runner, log, new_id=lambda: f"run_{next(numbers)}", clock=datetime.now)


@dataclass
class Peer:
    """The coordinator's end of one control link."""

    connection: trio_websocket.WebSocketConnection

    async def hear(self) -> messages.Message:
        data = await self.connection.get_message()
        assert isinstance(data, bytes)
        return codec.decode(data)

    async def say(self, message: messages.Message) -> None:
        await self.connection.send_message(codec.encode(message))

    async def greet(self, welcome: messages.Welcome = WELCOME) -> messages.Hello:
        hello = await self.hear()
        assert isinstance(hello, messages.Hello)
        await self.say(welcome)
        return hello

    async def answer_pings(self) -> None:
        """Answer until the link ends."""
        try:
            while True:
                message = await self.hear()
                if isinstance(message, messages.Ping):
                    await self.say(messages.Pong(id=message.id))
        except trio_websocket.ConnectionClosed:
            return


Conversation = Callable[[Peer], Awaitable[None]]
Answer = Callable[[upgrade.RequestHead, PrefixedStream], Awaitable[None]]


@dataclass
class Coordinator:
    """`answers` are used up one by one, the last one for ever."""

    answers: list[Answer]
    url: str = ""
    heads: list[upgrade.RequestHead] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    async def handle(self, stream: trio.abc.HalfCloseableStream) -> None:
        async with stream:
            try:
                raw = await read_head(stream)
                head = upgrade.parse_request(raw)
                self.heads.append(head)
                self.times.append(trio.current_time())
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                await answer(head, PrefixedStream(raw, stream))
            except (KledError, trio.BrokenResourceError):
                return


def converse(conversation: Conversation) -> Answer:
    """Accept the WebSocket, then talk."""

    async def answer(_head: upgrade.RequestHead, stream: PrefixedStream) -> None:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                await conversation(Peer(await request.accept()))
            nursery.cancel_scope.cancel()

    return answer


def refuse(error: KledError) -> Answer:
    """Answer with an error."""
    return say(upgrade.encode_error(error))


def say(data: bytes) -> Answer:
    """Answer with these bytes."""

    async def answer(_head: upgrade.RequestHead, stream: PrefixedStream) -> None:
        await stream.send_all(data)

    return answer


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[Coordinator]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    coordinator = Coordinator(list(answers), f"http://127.0.0.1:{port}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, coordinator.handle, listeners)
        yield coordinator
        nursery.cancel_scope.cancel()
