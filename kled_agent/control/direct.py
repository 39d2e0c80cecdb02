"""Direct paths: accepts transports of clients that can reach this machine.

No stream begins on a direct path. A stream begins at the coordinator and returns there from time to
time, because the coordinator checks the policy. A direct path only continues a stream, for a client
that proves knowledge of its secret. Others learn only that an agent listens: a RESUME for a stream
that does not exist is challenged like any other.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Final, Never

import trio

from kled_agent.control.resumption import KeptStream, Resumption
from kled_agent.machine.addresses import plan_candidates, read_addresses
from kled_wire import limits
from kled_wire.errors import ProtocolError
from kled_wire.eventlog import EventLog
from kled_wire.resume.direct.offer import NOWHERE, IpAddress, Offer, encode_offer, is_private
from kled_wire.resume.frames import Resume
from kled_wire.resume.handshake import read_hello, refuse
from kled_wire.transport.accepting import accept_forever
from kled_wire.transport.dial import tune
from kled_wire.transport.network import drain, open_watch, place

# Connections that have not proven anything yet: in all, and from one address (IPv6: one network).
GREETING_MAX: Final = 64
GREETING_PER_ADDRESS_MAX: Final = 8
# Changes of the network come in bursts; where the system does not report them, we look.
_SETTLE_S: Final = 0.2
_LOOK_S: Final = 5.0
_BACKLOG: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectSettings:
    """Whom the direct port accepts (nobody, private addresses, or any), and where it listens."""

    listen: str = "off"
    host: str = "::"
    port: int = 0


class AdmissionLimiter:
    """Counts unauthenticated connections, in total and for each client network."""

    def __init__(
        self, *, most: int = GREETING_MAX, per_address: int = GREETING_PER_ADDRESS_MAX
    ) -> None:
        self._most = most
        self._per_address = per_address
        self._inside: Counter[str] = Counter()

    def enter(self, address: IpAddress) -> bool:
        """Whether one more from there is admitted; call `leave` when it has ended or is proven."""
        name = _network_of(address)
        if self._inside.total() >= self._most or self._inside[name] >= self._per_address:
            return False
        self._inside[name] += 1
        return True

    def leave(self, address: IpAddress) -> None:
        """One that had entered is proven, or has ended."""
        name = _network_of(address)
        self._inside[name] -= 1
        if not self._inside[name]:
            del self._inside[name]


def _network_of(address: IpAddress) -> str:
    """Who counts as one: an address, or the network that one IPv6 customer has."""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


class DirectListener:
    """Accepts clients' direct transports for the streams of `resumption`."""

    def __init__(self, settings: DirectSettings, resumption: Resumption, log: EventLog) -> None:
        self._settings = settings
        self._resumption = resumption
        self._log = log
        self._admission = AdmissionLimiter()
        self._open = 0

    @property
    def open_streams(self) -> int:
        """How many streams are on direct paths."""
        return self._open

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and tell clients where, until cancelled; starts with the port, 0 for none.

        Returns at once where nothing is to be listened on, or can be: clients are told why.
        """
        if self._settings.listen == "off":
            self._offer(Offer(reason="direct_listen is off"))
            task_status.started(0)
            return
        try:
            listener = _listen(self._settings)
        except OSError as exc:
            self._log.warning("direct_unavailable", reason=exc.strerror or str(exc))
            self._offer(Offer(reason=f"it cannot listen: {exc.strerror or exc}"))
            task_status.started(0)
            return
        port: int = listener.socket.getsockname()[1]
        self._log.info("direct_listening", host=self._settings.host, port=port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                accept_forever, listener, self._serve_and_close, nursery, self._say_used_up
            )
            await nursery.start(self._follow_addresses, port)
            task_status.started(port)

    async def _follow_addresses(self, port: int, *, task_status: trio.TaskStatus[None]) -> Never:
        """Offer what there is, again whenever it changes."""
        self._offer_addresses(port)
        task_status.started()
        watch = open_watch()
        while watch is None:
            await trio.sleep(_LOOK_S)
            self._offer_addresses(port)
        with watch:
            while True:
                await trio.lowlevel.wait_readable(watch)
                await trio.sleep(_SETTLE_S)
                drain(watch)
                self._offer_addresses(port)

    def _offer_addresses(self, port: int) -> None:
        public = self._settings.listen == "any"
        candidates = plan_candidates(
            read_addresses(), port, bound=self._settings.host, public=public
        )
        reason = f"it has no {'' if public else 'private '}address"
        self._offer(Offer(candidates, place() or NOWHERE, reason))

    def _offer(self, offer: Offer) -> None:
        self._resumption.offer(encode_offer(offer))

    def _say_used_up(self, error: OSError) -> None:
        self._log.error("descriptors_used_up", reason=error.strerror)

    async def _serve_and_close(self, stream: trio.SocketStream) -> None:
        async with stream:
            await self._serve(stream)

    async def _serve(self, stream: trio.SocketStream) -> None:
        """One connection, from whoever."""
        try:
            address = _unmapped(stream.socket.getpeername()[0])
            if not (self._is_welcome(address) and self._admission.enter(address)):
                return
            log = self._log.bind(peer=str(address))
            try:
                admitted = await self._greet(stream, log)
            finally:
                self._admission.leave(address)
            if admitted is not None:
                self._open += 1
                try:
                    await self._resumption.carry_direct(*admitted)
                finally:
                    self._open -= 1
        except OSError:
            return  # it had gone before it was looked at
        except Exception as exc:  # noqa: BLE001 - the supervisor of connections: the others go on
            self._log.crash("direct_failed", exc)
        finally:
            await trio.aclose_forcefully(stream)

    def _is_welcome(self, address: IpAddress) -> bool:
        return self._settings.listen == "any" or is_private(address) or address.is_link_local

    async def _greet(
        self, stream: trio.SocketStream, log: EventLog
    ) -> tuple[KeptStream, trio.abc.HalfCloseableStream, int] | None:
        """Let a client prove itself; None when it does not."""
        try:
            tune(stream)
            with trio.fail_after(limits.HELLO_TIMEOUT_S):
                hello, transport = await read_hello(stream)
                if isinstance(hello, Resume):
                    return await self._resumption.admit_direct(transport, hello)
                log.info("direct_refused", reason="a stream must begin at the coordinator")
                await refuse(transport, "resume_only", "a stream must begin at the coordinator")
        except (ProtocolError, trio.BrokenResourceError, trio.TooSlowError, OSError) as exc:
            log.info("direct_refused", reason=str(exc) or "too slow")
        return None


def _listen(settings: DirectSettings) -> trio.SocketListener:
    """Raises OSError."""
    address = (settings.host, settings.port)
    if settings.host != "::":
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        plain = socket.create_server(address, family=family, backlog=_BACKLOG)
    else:
        try:
            plain = socket.create_server(
                address, family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
            )
        except (OSError, ValueError):  # a machine without IPv6
            plain = socket.create_server(("0.0.0.0", settings.port), backlog=_BACKLOG)  # noqa: S104 - asked for
    return trio.SocketListener(trio.socket.from_stdlib_socket(plain))


def _unmapped(host: str) -> IpAddress:
    """An IPv4 peer of a socket for both families comes as ::ffff:a.b.c.d (RFC 4291)."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
