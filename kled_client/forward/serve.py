"""Listen and connect: what stands between listeners here, listeners there, and the link."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Never

import trio

from kled_client.forward.link import Link, WorkspaceConnection
from kled_client.forward.socks import Reply, SocksError, SocksRequest, encode_reply
from kled_client.forward.spec import End, Forward, TcpEnd
from kled_wire.errors import ConflictError, InputError, KledError, UnavailableError
from kled_wire.transport.accepting import accept_forever
from kled_wire.transport.pump import pump

# More connections at once than this through one forward are closed again, and counted as errors.
CONNECTIONS_MAX: Final = 4096
SOCKS_TIMEOUT_S: Final = 30.0
DIAL_TIMEOUT_S: Final = 10.0
_BACKLOG: Final = 1024
Listeners = list[trio.SocketListener]


@dataclass(slots=True, kw_only=True)
class ForwardStatus:
    """What one forward has done. Bytes are `sent` from who connected to where it leads."""

    forward: Forward
    listen: End
    sent: int = 0
    received: int = 0
    open: int = 0
    total: int = 0
    errors: int = 0
    last_error: str = ""

    def raw(self) -> dict[str, Any]:
        """As JSON values."""
        target = self.forward.target
        return {
            "kind": str(self.forward.kind),
            "listen": str(self.listen),
            "target": None if target is None else str(target),
            "sent_bytes": self.sent,
            "received_bytes": self.received,
            "connections": self.open,
            "connections_total": self.total,
            "errors": self.errors,
            "last_error": self.last_error or None,
        }

    def count_sent(self, count: int) -> None:
        """Some went to the target."""
        self.sent += count

    def count_received(self, count: int) -> None:
        """Some came from the target."""
        self.received += count

    def used_up(self, error: OSError) -> None:
        """Connections wait, as there is nothing left to take them with."""
        self.failed(f"connections wait: {error.strerror}")

    def failed(self, reason: str) -> None:
        """One connection could not be served."""
        self.errors += 1
        self.last_error = reason


@asynccontextmanager
async def listening_here(forward: Forward) -> AsyncIterator[tuple[Listeners, ForwardStatus]]:
    """Open the local end. Raises ConflictError("port_in_use"), InputError("cannot_listen")."""
    end = forward.listen
    try:
        if isinstance(end, TcpEnd):
            host = None if end.host == "*" else end.host
            listeners = await trio.open_tcp_listeners(end.port, host=host, backlog=_BACKLOG)
        else:
            listeners = [await _listen_on_path(end.path)]
    except (OSError, UnicodeError) as exc:
        raise cannot_listen(forward, exc) from exc
    if isinstance(end, TcpEnd):
        actual: End = TcpEnd(host=end.host, port=listeners[0].socket.getsockname()[1])
    else:
        actual = end
    try:
        yield listeners, ForwardStatus(forward=forward, listen=actual)
    finally:
        for listener in listeners:
            listener.socket.close()
        if not isinstance(end, TcpEnd):
            Path(end.path).unlink(missing_ok=True)  # noqa: ASYNC240  # as the line above


async def _listen_on_path(path: str) -> trio.SocketListener:
    """A listener for this user alone; what a dead one left behind is taken away."""
    if _is_socket(path) and not await _answers(path):
        os.unlink(path)  # noqa: PTH108
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        await listener.bind(path)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    return trio.SocketListener(listener)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


async def _answers(path: str) -> bool:
    try:
        stream = await trio.open_unix_socket(path)
    except OSError:
        return False
    await stream.aclose()
    return True


def cannot_listen(forward: Forward, error: Exception) -> KledError:
    """The error for a person about a local end that cannot be opened."""
    end = forward.listen
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        rest = "" if forward.target is None else f":{forward.target}"
        free = f"choose another, for instance 0{rest} for any free port"
        return ConflictError(
            "port_in_use",
            f"{end} is in use on this machine",
            hint=free if isinstance(end, TcpEnd) else "choose another path, or delete the file",
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return InputError("cannot_listen", f"cannot listen on {end}: {reason}")


async def serve_here(listeners: Listeners, status: ForwardStatus, link: Link) -> Never:
    """Accept until cancelled and connect each to its target through `link`."""
    async with trio.open_nursery() as nursery:
        serve = partial(_serve_local, status, link)
        for listener in listeners:
            nursery.start_soon(accept_forever, listener, serve, nursery, status.used_up)
    raise AssertionError("unreachable")


async def _serve_local(
    status: ForwardStatus, link: Link, here: trio.abc.HalfCloseableStream
) -> None:
    async with here:
        with _counted(status) as served:
            if not served:
                return
            target = status.forward.target
            if target is None:
                await _serve_socks(status, link, here)
                return
            async with await link.open(target) as there:
                await _join(status, here, there)


async def _serve_socks(
    status: ForwardStatus, link: Link, here: trio.abc.HalfCloseableStream
) -> None:
    with trio.move_on_after(SOCKS_TIMEOUT_S) as slow:
        asked = await _read_socks(here)
    if slow.cancelled_caught:
        raise SocksError("the client sent no destination")
    assert asked.target is not None
    try:
        there = await link.open(asked.target)
    except UnavailableError:
        await here.send_all(encode_reply(Reply.REFUSED))
        raise
    async with there:
        await here.send_all(encode_reply(Reply.SUCCEEDED))
        if asked.rest:
            await there.send_all(asked.rest)
            status.count_sent(len(asked.rest))
        await _join(status, here, there)


async def _read_socks(here: trio.abc.HalfCloseableStream) -> SocksRequest:
    request = SocksRequest()
    while request.target is None:
        data = await here.receive_some(1024)
        if not data:
            raise SocksError("the client disconnected before it sent a destination")
        try:
            answer = request.feed(bytes(data))
        except SocksError as exc:
            await here.send_all(exc.reply)
            raise
        if answer:
            await here.send_all(answer)
    return request


async def serve_there(
    forward: Forward,
    connection: WorkspaceConnection,
    status: ForwardStatus,
    on_up: Callable[[], None],
) -> Never:
    """Let the workspace listen until cancelled; its connections end here, in `forward.target`.

    `on_up` is called once it does.

    Raises ConflictError("remote_port_refused").
    """
    async with trio.open_nursery() as nursery:

        def accept(there: trio.abc.HalfCloseableStream) -> None:
            nursery.start_soon(_serve_remote, status, there)

        async with connection.listening(forward.listen, accept) as actual:
            status.listen = actual
            on_up()
            await trio.sleep_forever()
    raise AssertionError("unreachable")


async def _serve_remote(status: ForwardStatus, there: trio.abc.HalfCloseableStream) -> None:
    async with there:
        with _counted(status) as served:
            if served:
                async with await _dial_here(status.forward) as here:
                    await _join(status, there, here)


async def _dial_here(forward: Forward) -> trio.SocketStream:
    target = forward.target
    assert target is not None
    try:
        with trio.fail_after(DIAL_TIMEOUT_S):
            if isinstance(target, TcpEnd):
                return await trio.open_tcp_stream(target.host, target.port)
            return await trio.open_unix_socket(target.path)
    except (OSError, trio.TooSlowError, UnicodeError) as exc:
        raise UnavailableError("forward_refused", f"cannot connect to {target}: {exc}") from exc


async def _join(
    status: ForwardStatus,
    asking: trio.abc.HalfCloseableStream,
    asked: trio.abc.HalfCloseableStream,
) -> None:
    await pump(asking, asked, count_right=status.count_sent, count_left=status.count_received)


class _counted:  # noqa: N801  # reads as the `with` statement it is
    """Counts one connection; its errors end here."""

    def __init__(self, status: ForwardStatus) -> None:
        self._status = status

    def __enter__(self) -> bool:
        self._status.total += 1
        self._status.open += 1
        if self._status.open > CONNECTIONS_MAX:
            self._status.failed(f"more than {CONNECTIONS_MAX} connections at once")
            return False
        return True

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self._status.open -= 1
        if isinstance(error, KledError):
            self._status.failed(error.message)
        # A connection that one side broke off is no fault of the forward.
        return isinstance(error, KledError | trio.BrokenResourceError | trio.ClosedResourceError)
