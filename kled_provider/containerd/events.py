"""containerd's service Events: what happens, as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kled_provider.containerd.caller import ContainerdCaller
from kled_provider.containerd.types import AnyMessage, decode_any, encode_texts
from kled_provider.grpc import protobuf
from kled_provider.grpc.client import ClientCall

_SERVICE = "/containerd.services.events.v1.Events/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. `topic` as in `/tasks/oom`; `message` is of the topic's own type."""

    namespace: str
    topic: str
    message: AnyMessage

    @property
    def container(self) -> str:
        """The container that an event of a task is of: the first field of all of them."""
        return protobuf.decode(self.message.value).text(1)

    def exit_code(self, container: str) -> int | None:
        """The exit code of a container's first process; None: it says nothing of that.

        `containerd.events.TaskExit`, topic `/tasks/exit`; further processes have ids of their own.
        """
        fields = protobuf.decode(self.message.value)
        is_of_first = (fields.text(1), fields.text(2)) == (container, container)
        return fields.integer(4) if is_of_first else None


class Events:
    """A subscription sees what happens after containerd has taken it, and nothing before."""

    def __init__(self, caller: ContainerdCaller) -> None:
        self._caller = caller

    @asynccontextmanager
    async def open_subscription(self, *filters: str) -> AsyncIterator[Subscription]:
        """Subscribe to the events that one of the filters takes. Raises ContainerdError."""
        async with self._caller.open_call(f"{_SERVICE}Subscribe") as call:
            await call.send(encode_texts(1, filters), is_last=True)
            yield Subscription(call)


class Subscription:
    """Iterates over events until the context it came from is left."""

    def __init__(self, call: ClientCall) -> None:
        self._call = call

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        reply = await self._call.receive()
        if reply is None:
            raise StopAsyncIteration
        fields = protobuf.decode(reply)
        return Event(
            namespace=fields.text(2), topic=fields.text(3), message=decode_any(fields.blob(4))
        )
