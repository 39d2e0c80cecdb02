"""The load of connections through `kled forward`: one that stays, and many that come and go."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import threading
from collections.abc import Iterator

from tests.e2e.chaos.load import PATIENCE_S, Load, LostError
from tests.e2e.chaos.restarts import TOLD_S
from tests.kit.network import Namespace
from tests.kit.site import BIN

_PACE_S = 0.2
_SHORT_EVERY = 3


class Forward(Load):
    """What is sent comes back; the connection that stays must never break."""

    def work(self) -> None:
        with _echo(self.world.topology.host) as port:
            process = self.popen([BIN / "kled", "-o", "json", "forward", "dev", f"0:{port}"])
            assert process.stdout is not None
            events = os.fdopen(os.dup(process.stdout.fileno()), "rb")
            first = events.readline()
            if not first:
                raise LostError(f"it ended with {process.wait()}")
            local = int(json.loads(first)["listen"].rpartition(":")[2])
            # Nobody else reads what it says, and it may not wait for that.
            reader = threading.Thread(target=events.read)
            reader.start()
            try:
                self._talk_on(local, process)
            finally:
                process.terminate()
                reader.join()
                events.close()

    def _talk_on(self, local: int, process: subprocess.Popen[bytes]) -> None:
        """Connections end with the agent; the program goes on and has others with the next."""
        restarts = self.world.restarts
        while not self.stopping.is_set():
            seen = restarts.count
            try:
                self._talk(local)
            except (LostError, OSError):
                if restarts.count == seen or process.poll() is not None:
                    raise
                restarts.check_in_time(seen)
                self.anew += 1
                self._wait_open(local)

    def _wait_open(self, local: int) -> None:
        restarts = self.world.restarts
        while True:
            restarts.wait_back(PATIENCE_S)
            with _connect(local) as link:
                if _is_open(link):
                    return
            if restarts.over_s() > TOLD_S:
                raise LostError("no connection gets through to the new agent")

    def _talk(self, local: int) -> None:
        number = 0
        with _connect(local) as stays:
            while not self.stopping.wait(_PACE_S):
                number += 1
                self._exchange(stays, os.urandom(random.randrange(1, 60_000)), last=False)
                if number % _SHORT_EVERY == 0:
                    with _connect(local) as short:
                        if not _is_open(short):
                            continue
                        self._exchange(short, os.urandom(random.randrange(300_000)), last=True)

    def _exchange(self, link: socket.socket, data: bytes, *, last: bool) -> None:
        def send() -> None:
            # A connection that breaks is noticed by who reads.
            with contextlib.suppress(OSError):
                link.sendall(data)
                if last:
                    link.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = bytearray()
        while (last or len(got) < len(data)) and (piece := link.recv(262144)):
            got += piece
        sender.join()
        if got != data:
            which = "a short connection" if last else "the connection that stays"
            raise LostError(f"{which}: {len(data)} bytes went and {len(got)} came, or others")
        self.checked(2 * len(data))


def _is_open(link: socket.socket) -> bool:
    """Whether a new connection has got through: it waits for a way for 15 s only, by design."""
    try:
        link.sendall(b"?")
        return link.recv(1) == b"?"
    except OSError:
        return False


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


@contextlib.contextmanager
def _echo(where: Namespace) -> Iterator[int]:
    """A server in the workspace that gives everything back."""
    with where.entered():
        listener = socket.create_server(("127.0.0.1", 0))

    def answer(link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            while data := link.recv(262144):
                link.sendall(data)

    def serve() -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(link,), daemon=True).start()

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        server.join()
