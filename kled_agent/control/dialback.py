"""Turns a dial request into a stream, and gives the stream to the service of its kind."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Final

import trio

from kled_agent.control.grants import Grants
from kled_agent.control.resumption import Resumption, StreamHandler
from kled_wire import limits
from kled_wire.control import messages, standby
from kled_wire.control.link import ControlLink, LinkClosed
from kled_wire.errors import KledError, ProtocolError
from kled_wire.eventlog import EventLog
from kled_wire.transport.address import Address
from kled_wire.transport.open import open_upgraded
from kled_wire.transport.prefixed import PrefixedStream

# The coordinator lets go of an idle connection sooner; one that lost its coordinator goes then.
_READY_MAX_S: Final = 120.0


class Dialback:
    """Dials the data plane when asked. `nursery` outlives the control link, as streams do.

    A dial may take `dial_s` seconds.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        coordinator: Address,
        handlers: Mapping[str, StreamHandler],
        resumption: Resumption,
        grants: Grants,
        log: EventLog,
        *,
        ssl_context: ssl.SSLContext | None = None,
        dial_s: float = limits.DIAL_BACK_TIMEOUT_S,
    ) -> None:
        self._nursery = nursery
        self._coordinator = coordinator
        self._handlers = handlers
        self._resumption = resumption
        self._grants = grants
        self._log = log
        self._ssl_context = ssl_context
        self._dial_s = dial_s
        self._open = 0
        self._number = 0

    @property
    def open_streams(self) -> int:
        """How many streams are being dialled or served."""
        return self._open

    def accept_nowait(self, dial: messages.Dial, link: ControlLink) -> None:
        """Start a task that dials back and serves; what goes wrong is said over `link`."""
        self._number += 1
        log = self._log.bind(stream=self._number, kind=dial.kind)
        self._nursery.start_soon(self._serve, dial, link, log)

    async def _serve(self, dial: messages.Dial, link: ControlLink, log: EventLog) -> None:
        ready = dial.kind == standby.KIND
        if not ready and dial.kind not in self._handlers:
            await _refuse(link, dial, "kind_unsupported", f"no streams of kind {dial.kind} here")
            return
        try:
            async with trio.open_nursery() as nursery:
                with nullcontext() if ready else self._opened(dial):
                    stream = await self._dial(dial, link, nursery, log)
                    if stream is not None:
                        async with _closed_at_end(stream):
                            serve = self._serve_ready if ready else self._serve_stream
                            await serve(stream, dial, log)
                nursery.cancel_scope.cancel()
        except* Exception as group:  # noqa: BLE001 - the supervisor of streams: the others go on
            log.crash("stream_failed", group)

    async def _serve_ready(
        self, stream: trio.abc.HalfCloseableStream, _dial: messages.Dial, log: EventLog
    ) -> None:
        """Keep a connection until it is told which stream it is, or is let go."""
        found = None
        try:
            with trio.move_on_after(_READY_MAX_S):
                found = await _read_dial(stream)
        except (trio.BrokenResourceError, ProtocolError) as exc:
            log.debug("reserve_ended", reason=str(exc))
        if found is not None:
            dial, stream = found
            with self._opened(dial):
                await self._serve_stream(stream, dial, log.bind(kind=dial.kind))

    async def _serve_stream(
        self, stream: trio.abc.HalfCloseableStream, dial: messages.Dial, log: EventLog
    ) -> None:
        log.debug("stream_open")
        handler = self._handlers.get(dial.kind)
        if handler is None:
            log.info("stream_refused", kind=dial.kind)
        elif dial.resume:
            await self._resumption.serve(stream, dial, log, handler)
        else:
            await handler(stream, dial, log)

    @contextmanager
    def _opened(self, dial: messages.Dial) -> Iterator[None]:
        """Count a stream, and end it with its grant."""
        self._open += 1
        try:
            with self._grants.held((dial.grant,)):
                yield
        finally:
            self._open -= 1

    async def _dial(
        self, dial: messages.Dial, link: ControlLink, nursery: trio.Nursery, log: EventLog
    ) -> trio.abc.HalfCloseableStream | None:
        try:
            with trio.fail_after(self._dial_s):
                return await open_upgraded(
                    self._coordinator,
                    "/api/v1/agent/stream",
                    headers={"Authorization": f"Kled-Ticket {dial.ticket}"},
                    nursery=nursery,
                    ssl_context=self._ssl_context,
                )
        except trio.TooSlowError:
            code, reason = "dial_timeout", "the data plane did not answer in time"
        except KledError as exc:
            code, reason = exc.code, exc.message
        log.info("dial_failed", code=code, reason=reason)
        await _refuse(link, dial, code, reason)
        return None


@asynccontextmanager
async def _closed_at_end(stream: trio.abc.HalfCloseableStream) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await trio.aclose_forcefully(stream)


async def _read_dial(
    stream: trio.abc.HalfCloseableStream,
) -> tuple[messages.Dial, trio.abc.HalfCloseableStream] | None:
    """What the connection is to become, and the stream from there; None at its end.

    Raises ProtocolError, trio.BrokenResourceError.
    """
    buffer = bytearray()
    while (found := standby.decode_dial(buffer)) is None:
        data = await stream.receive_some(standby.DIAL_MAX_BYTES)
        if not data:
            return None
        buffer += data
    dial, rest = found
    return dial, PrefixedStream(rest, stream) if rest else stream


async def _refuse(link: ControlLink, dial: messages.Dial, code: str, message: str) -> None:
    try:
        await link.send(messages.DialFailed(ticket=dial.ticket, code=code, message=message))
    except LinkClosed:
        return  # nobody is left to tell
