"""A dial request becomes a stream, and the stream goes to whoever serves its kind."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import trio

from kled_agent.control.resumption import Resumption, StreamHandler
from kled_wire import limits, messages
from kled_wire.control import ControlLink, LinkClosed
from kled_wire.errors import KledError
from kled_wire.eventlog import EventLog
from kled_wire.transport.dial import open_upgraded


class Dialback:
    """Dials the data plane when asked. `nursery` outlives the control link, as streams do."""

    def __init__(
        self,
        nursery: trio.Nursery,
        coordinator_url: str,
        handlers: Mapping[str, StreamHandler],
        resumption: Resumption,
        log: EventLog,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._nursery = nursery
        self._url = f"{coordinator_url.rstrip('/')}/api/v1/agent/stream"
        self._handlers = handlers
        self._resumption = resumption
        self._log = log
        self._ssl_context = ssl_context
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
        handler = self._handlers.get(dial.kind)
        if handler is None:
            await _refuse(link, dial, "kind_unsupported", f"no streams of kind {dial.kind} here")
            return
        self._open += 1
        try:
            async with trio.open_nursery() as nursery:
                stream = await self._dial(dial, link, nursery, log)
                if stream is not None:
                    log.debug("stream_open")
                    try:
                        if dial.resume:
                            await self._resumption.serve(stream, dial, log, handler)
                        else:
                            await handler(stream, dial, log)
                    finally:
                        await trio.aclose_forcefully(stream)
                nursery.cancel_scope.cancel()
        except* Exception as group:  # noqa: BLE001 - the supervisor of streams: the others go on
            log.crash("stream_failed", group)
        finally:
            self._open -= 1

    async def _dial(
        self, dial: messages.Dial, link: ControlLink, nursery: trio.Nursery, log: EventLog
    ) -> trio.abc.HalfCloseableStream | None:
        try:
            with trio.fail_after(limits.DIAL_BACK_TIMEOUT_S):
                return await open_upgraded(
                    self._url,
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


async def _refuse(link: ControlLink, dial: messages.Dial, code: str, message: str) -> None:
    try:
        await link.send(messages.DialFailed(ticket=dial.ticket, code=code, message=message))
    except LinkClosed:
        return  # nobody is left to tell
