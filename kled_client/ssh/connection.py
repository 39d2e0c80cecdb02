"""An SSH connection to a workspace: our own client, over a stream that is open.

The host certificate is checked against the coordinator's CA for the name that was asked for; the
relay in the middle can neither read nor forge. asyncssh lives in Trio through trio-asyncio.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import trio
import trio_asyncio

from kled_client.account.certificate import SshIdentityFiles
from kled_client.ssh.channel import Channel
from kled_wire.errors import KledError, UnauthenticatedError, UnavailableError
from kled_wire.lasting_nursery import open_lasting_nursery
from kled_wire.limits import CLEANUP_S
from kled_wire.names import SSH_SUFFIX, WorkspaceRef
from kled_wire.ssh.asyncio_bridge import StreamTunnel

T = TypeVar("T")
# AES-GCM first: it runs in hardware (docs/architecture.md, SSH).
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
)
# The agent takes any user name and means the workspace's user.
_USER = "kled"
LOGIN_TIMEOUT_S = 30.0
# The window of a terminal's channel: what a slow connection holds before a key is answered. Nobody
# reads more than that in a round trip.
_TERMINAL_BYTES = 32 * 1024
_SAID_KEPT = 64
_SAID_CHARS = 500


class SshClient(asyncssh.SSHClient):
    """Remembers the last words of the workspace's agent beside its answers.

    A refusal to listen has no room for a reason (RFC 4254, section 4): that comes before it, as a
    debug message.
    """

    def __init__(self) -> None:
        self._said: deque[str] = deque(maxlen=_SAID_KEPT)

    def debug_msg_received(self, msg: str, *_: object) -> None:
        self._said.append(msg[:_SAID_CHARS])

    def why_not(self, what: str) -> str:
        """The reason given for `what`, as in "cannot WHAT: REASON"; empty where there was none."""
        begin = f"cannot {what}: "
        said = (words for words in reversed(self._said) if words.startswith(begin))
        return next(said, "").removeprefix(begin)


async def aio(function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """Await one of asyncssh's coroutines from Trio."""
    call = trio_asyncio.aio_as_trio(partial(function, *args, **kwargs))
    result: T = await call()
    return result


@asynccontextmanager
async def log_in(
    stream: trio.abc.HalfCloseableStream,
    ref: WorkspaceRef,
    identity: SshIdentityFiles,
    *,
    agent_socket: str = "",
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection over `stream` that is up, closed when the block ends.

    The SSH agent at `agent_socket` is forwarded, if there is one.
    Raises UnavailableError, UnauthenticatedError("ssh_refused").
    """
    async with _loop(), open_lasting_nursery() as nursery:
        tunnel = StreamTunnel(stream, nursery)
        options = _options(identity)
        if agent_socket:
            options["agent_forwarding"] = agent_socket
        with translated(ref):
            with trio.fail_after(LOGIN_TIMEOUT_S):
                connection = await aio(asyncssh.connect, host_name(ref), tunnel=tunnel, **options)
            try:
                yield connection
            finally:
                with trio.move_on_after(CLEANUP_S, shield=True):
                    connection.close()
                    await aio(connection.wait_closed)


def _loop() -> AbstractAsyncContextManager[object]:
    """The asyncio loop we are in, or else a new one."""
    if trio_asyncio.current_loop.get() is not None:
        return nullcontext()
    return trio_asyncio.open_loop()  # type: ignore[no-any-return]  # it ships no types


def host_name(ref: WorkspaceRef) -> str:
    """The name the workspace's host certificate must hold."""
    return f"{ref}.{SSH_SUFFIX}"


async def open_channel(
    connection: asyncssh.SSHClientConnection,
    command: str | None,
    *,
    env: Mapping[str, str],
    terminal: tuple[str, int, int] | None = None,
    subsystem: str | None = None,
) -> Channel:
    """Start `command` (None: a login shell); `terminal` is TERM, columns and rows.

    To a terminal little is under way at a time, so that no flood is before a key's answer.
    Raises UnavailableError("session_refused").
    """
    options: dict[str, Any] = {"encoding": None, "env": dict(env)}
    if subsystem is not None:
        options["subsystem"] = subsystem
    factory: Callable[[], Channel] = Channel
    if terminal is None:
        options["request_pty"] = False
    else:
        name, columns, rows = terminal
        options |= {"term_type": name, "term_size": (columns, rows)}
        options |= {"window": _TERMINAL_BYTES, "max_pktsize": _TERMINAL_BYTES // 4}
        factory = partial(Channel, _TERMINAL_BYTES)
    try:
        _, session = await aio(connection.create_session, factory, command, **options)
    except asyncssh.ChannelOpenError as exc:
        raise UnavailableError(
            "session_refused", f"the workspace refused the session: {exc.reason}"
        ) from exc
    assert isinstance(session, Channel)
    return session


def exit_code(channel: Channel) -> int:
    """What the shell would report: the exit status, or 128 plus the signal's number."""
    if channel.exit_signal is not None:
        number = getattr(signal, f"SIG{channel.exit_signal}", None)
        return 128 + (number.value if number is not None else 0)
    return 255 if channel.exit_status is None else channel.exit_status


def _options(identity: SshIdentityFiles) -> dict[str, Any]:
    line = Path(identity.known_hosts).read_text().strip()
    authority = line.partition(" ")[2].partition(" ")[2]
    return {
        "client_factory": SshClient,
        "config": None,
        "username": _USER,
        "client_keys": [(identity.key, identity.certificate)],
        "agent_path": None,
        "known_hosts": ([], [asyncssh.import_public_key(authority)], []),
        "preferred_auth": "publickey",
        "encryption_algs": CIPHERS,
        "compression_algs": None,
        # The stream below notices a dead transport and replaces it: SSH must not give up meanwhile.
        "keepalive_interval": 0,
        "server_host_key_algs": "default",
    }


class translated:  # noqa: N801  # reads as the `with` statement it is
    """Turn asyncssh's errors into ours, naming the workspace."""

    def __init__(self, ref: WorkspaceRef) -> None:
        self._ref = ref

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BaseExceptionGroup):
            return
        better = _translate(self._ref, error)
        if better is not None:
            raise better from error


def _translate(ref: WorkspaceRef, error: BaseException | None) -> KledError | None:
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return UnauthenticatedError(
                "host_untrusted",
                f"{ref} presented no host certificate of this coordinator: {error.reason}",
                hint=f"kled stop {ref} && kled start {ref} gives it a new one",
            )
        case asyncssh.PermissionDenied():
            return UnauthenticatedError(
                "ssh_refused", f"{ref} refuses your certificate: {error.reason}", hint="kled whoami"
            )
        case asyncssh.Error():
            return UnavailableError(
                "ssh_failed",
                f"the SSH connection to {ref} failed: {error.reason}",
                hint="try again",
            )
        case trio.TooSlowError():
            return UnavailableError(
                "ssh_slow", f"the SSH server of {ref} does not answer", hint=f"kled ping {ref}"
            )
    return None
