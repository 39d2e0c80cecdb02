"""The one port: accepts, terminates TLS, reads one head, and hands the connection to its plane."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
import trio

from kled_coord.front.admission import Admission, AdmissionPlace
from kled_coord.front.forwarded import HEADER, Network, decide_address, is_trusted_peer
from kled_coord.front.head import Plane, Route, decide_route
from kled_coord.front.refusing import answer_error, head_timeout
from kled_coord.offload.handover import LayerKind
from kled_coord.offload.pool import OffloadPool
from kled_wire import limits
from kled_wire.errors import KledError, LimitError, UnavailableError
from kled_wire.http.headio import read_head
from kled_wire.http.upgrade import RequestHead, parse_request
from kled_wire.transport.accepting import accept_forever
from kled_wire.transport.dial import tune
from kled_wire.transport.prefixed import PrefixedStream

BACKLOG: Final = 4096

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One connection whose head has been read. `stream` begins after the head.

    `address` is the client's, for people: the peer's, or who a trusted proxy says it serves.
    `place` is to be left once the peer has said who it is; None for the API behind a proxy, where
    each request has its own.
    """

    stream: PrefixedStream
    head: RequestHead
    raw_head: bytes
    route: Route
    address: str
    place: AdmissionPlace | None

    def vouched(self) -> None:
        """The peer has said who it is."""
        if self.place is not None:
            self.place.leave()

    def with_head(self) -> PrefixedStream:
        """The connection as it was before anything was read of it."""
        rest = self.stream.take_prefix()
        return PrefixedStream(self.raw_head + rest, self.stream.transport_stream)


Handler = Callable[[Arrival], Awaitable[None]]


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen. Raises OSError."""
    return await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)


async def serve_connections(
    listeners: list[trio.SocketListener],
    handlers: Mapping[Plane, Handler],
    connections: trio.Nursery,
    *,
    admission: Admission,
    tls: OffloadPool | None = None,
    trusted_proxies: Sequence[Network] = (),
    head_s: float = limits.HEAD_TIMEOUT_S,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept until cancelled; each connection is a task of `connections`, which outlives us.

    With `tls` every connection is TLS, which ends there. A head may take `head_s` seconds.
    """
    front = _Front(
        handlers=handlers,
        tls=tls,
        trusted_proxies=trusted_proxies,
        admission=admission,
        head_s=head_s,
    )
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(accept_forever, listener, front.serve, connections, _say_used_up)
        task_status.started(listeners)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Front:
    """Reads the head of each connection of the port and chooses its plane."""

    handlers: Mapping[Plane, Handler]
    tls: OffloadPool | None
    trusted_proxies: Sequence[Network]
    admission: Admission
    head_s: float

    async def serve(self, raw: trio.SocketStream) -> None:
        """One connection from accept to end. A peer's mistake or ours ends only this one."""
        place = None
        try:
            async with raw:
                tune(raw)
                address = _address(raw)
                if not is_trusted_peer(address, self.trusted_proxies):
                    place = await self.admission.enter(address)
                async with (
                    raw if self.tls is None else self.tls.unwrapped(LayerKind.TLS, raw) as stream
                ):
                    arrival = await self._read(stream, address, place)
                    if arrival is None:
                        return
                    plane = arrival.route.plane
                    if place is None and plane is not Plane.API:
                        place = await self.admission.enter(arrival.address)
                        arrival = replace(arrival, place=place)
                    # No call in between: each frame is there as often as there are agents.
                    await self.handlers[plane](arrival)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("connection_broken")
        except* LimitError as group:
            log.info("connection_refused", reason=str(group.exceptions[0]))
        except* UnavailableError as group:
            log.warning("connection_not_served", reason=str(group.exceptions[0]))
        except* OSError as group:
            _log_os_errors(group)
        except* Exception:
            # The supervisor of connections: the others go on.
            log.exception("connection_crashed")
        finally:
            if place is not None:
                place.leave()

    async def _read(
        self, stream: trio.abc.HalfCloseableStream, address: str, place: AdmissionPlace | None
    ) -> Arrival | None:
        """Read the head within its limits; None when it was refused or the peer said nothing."""
        buffer = bytearray()
        try:
            with trio.fail_after(self.head_s):
                raw_head = await read_head(stream, buffer)
            head = parse_request(raw_head)
            address = decide_address(address, head.headers.get(HEADER), self.trusted_proxies)
            return Arrival(
                stream=PrefixedStream(bytes(buffer), stream),
                head=head,
                raw_head=raw_head,
                route=decide_route(head),
                address=address,
                place=place,
            )
        except trio.TooSlowError:
            await answer_error(stream, head_timeout())
        except UnavailableError:
            log.debug("connection_silent", address=address)
        except KledError as error:
            log.info("request_refused", address=address, code=error.code)
            await answer_error(stream, error)
        return None


def _address(stream: trio.SocketStream) -> str:
    try:
        name = stream.socket.getpeername()
    except OSError:
        return ""  # it is gone already
    return str(name[0]) if isinstance(name, tuple) else str(name)


def _say_used_up(error: OSError) -> None:
    hint = "raise LimitNOFILE: docs/operations.md"
    log.error("descriptors_used_up", reason=error.strerror, hint=hint)


def _log_os_errors(group: ExceptionGroup[OSError]) -> None:
    for error in group.exceptions:
        reason = errno.errorcode.get(getattr(error, "errno", 0) or 0, str(error))
        log.info("connection_failed", reason=reason)


def raise_descriptor_limit() -> int:
    """Use all the file descriptors we may have: an agent is one, a relayed stream six."""
    import resource  # noqa: PLC0415 - not on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(soft, hard)
