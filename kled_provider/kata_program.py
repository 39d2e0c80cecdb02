"""`terraform-provider-kata`: the service of root's, or a provider that Terraform starts by hand."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import trio

from kled_provider.__main__ import run_program, say
from kled_provider.kata.leftovers import collect_leftovers
from kled_provider.kata.provider import kata_provider
from kled_provider.kata.serving.daemon import KataDaemon
from kled_provider.kata.serving.here import open_machine
from kled_provider.kata.serving.remote import DEFAULT_SOCKET
from kled_provider.standalone import run_standalone

USAGE: Final = f"""\
usage: terraform-provider-kata [--help | --version | serve [SOCKET [USER]]]

The Terraform provider of Kled that makes containers. `serve`, as root, makes them for a coordinator
that is not root: at SOCKET ({DEFAULT_SOCKET}), which USER alone may use (root), or at the
socket that systemd gives. Without arguments Terraform starts it; it needs root then.
"""
# sd_listen_fds(3): the first descriptor that systemd passes.
_FIRST_PASSED: Final = 3


def main() -> int:
    """Run the program; returns its exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["serve"] and len(arguments) <= 3:
        return _serve(*arguments[1:])
    return run_program("terraform-provider-kata", USAGE, _run_standalone)


async def _run_standalone() -> None:
    async with open_machine() as machine, trio.open_nursery() as nursery:
        nursery.start_soon(collect_leftovers, machine)
        await run_standalone(dict(os.environ), say, kata_provider(machine))
        nursery.cancel_scope.cancel()


def _serve(path: str = DEFAULT_SOCKET, user: str = "root") -> int:
    try:
        listening = _passed() or _bound(Path(path), user)
    except (OSError, KeyError) as error:
        sys.stderr.write(f"error: cannot listen at {path}: {error}\n")
        return 1
    try:
        trio.run(_serve_daemon, listening)
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve_daemon(listening: socket.socket) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
            nursery.start_soon(KataDaemon(sys.stderr.write).serve, listener)
            async for _ in signals:
                nursery.cancel_scope.cancel()


def _passed() -> socket.socket | None:
    """The socket that systemd has opened, if it has."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    return socket.socket(fileno=_FIRST_PASSED)


def _bound(path: Path, user: str) -> socket.socket:
    """A socket of one's own that nobody but `user` may use."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        bound.bind(str(path))
    finally:
        os.umask(mask)
    os.chown(path, pwd.getpwnam(user).pw_uid, -1)
    bound.listen()
    return bound


if __name__ == "__main__":
    sys.exit(main())
