"""Writes what containers print to files that are rotated: one process for a machine's containers.

Run as `python -I -S logger.py DIRECTORY SOCKET VERSION`: SOCKET is the descriptor of a Unix socket
that listens at `logger.sock` in DIRECTORY. Each container has `ID.fifo` there, and `ID.kept`, JSON:
an object with `log`, `max_bytes` (of a file) and `files` (how many, `log` itself among them; there
are LOG.1, LOG.2, …). What is there at the start is read at once. A task's shim has the FIFO as the
task's standard output and error. It is held open for writing here too, so that it never ends: shims
come and go with the task's restarts, and what was printed waits while none of us is there, as long
as it fits into the pipe.

A peer sends one line, `open VERSION ID`, `close VERSION ID` or `here VERSION`, and gets `ok`, or
what was wrong; `close` writes first what is in the pipe, `here` asks whether somebody answers. To a
peer of another VERSION we are an older program: we end, and it gets nothing, and starts its own. We
end too where no container is left, and by SIGTERM; then what is in the pipes is written first.

There are two of us, so that no container waits for a log that nobody reads: one works, the other
waits for its end. Where the one is killed the other goes on in its place, where the other is there
is a new one at once. Where both are, the next run of Terraform starts us again.

What a full disk does not take is lost and counted, and the count stands in the log once there is
room: a container never waits for its log. Standard library alone: it stays as long as containers.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
import time
from contextlib import suppress

_BLOCK = 65536
_LINE_BYTES = 4096
# How long one that has nothing to write stays for whoever started it.
_IDLE_MS = 10_000
# Whatever kills each of us at once gets no more of the processor than this allows.
_AGAIN_S = 0.1


def cut(block: bytes, room: int, file_bytes: int) -> int:
    """Return how many bytes of `block` go into a file with `room` left; the rest into the next.

    A line is not cut where it fits into a file of `file_bytes` at all.
    """
    if len(block) <= room:
        return len(block)
    end = block.rfind(b"\n", 0, max(room, 0)) + 1
    rest = block.find(b"\n", end)
    line = (rest if rest >= 0 else len(block)) - end
    return end if end or line < file_bytes else max(room, 0)


class RotatedFile:
    """The log and the older ones beside it."""

    def __init__(self, path: str, max_bytes: int, files: int) -> None:
        self._path, self._max_bytes, self._files = path, max_bytes, files
        self._fd = -1
        self._size = 0
        self._lost = 0

    def write(self, block: bytes) -> None:
        """Write all of it, or as much as the disk takes."""
        if self._lost:
            note = f"[kled: {self._lost} bytes lost: they could not be written]\n".encode()
            if self._put(note) < len(note):
                self._lost += len(block)
                return
            self._lost = 0
        self._lost = len(block) - self._put(block)

    def _put(self, block: bytes) -> int:
        """Return how many bytes were written."""
        done = 0
        try:
            while done < len(block):
                self._open()
                left = memoryview(block)[done:]
                room = cut(bytes(left), self._max_bytes - self._size, self._max_bytes)
                if room == 0:
                    self._rotate()
                    continue
                written = os.write(self._fd, left[:room])
                done += written
                self._size += written
        except OSError:
            return done
        return done

    def _open(self) -> None:
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
            self._size = os.fstat(self._fd).st_size

    def close(self) -> None:
        """Give the file back; it is opened again by the next `write`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rotate(self) -> None:
        self.close()
        names = [self._path, *(f"{self._path}.{n}" for n in range(1, self._files))]
        with suppress(FileNotFoundError):
            os.unlink(names[-1])  # noqa: PTH108 - pathlib costs memory and time to start
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            with suppress(FileNotFoundError):
                os.rename(newer, older)  # noqa: PTH104


class Logger:
    """The FIFOs that are read, the peers that ask, and whether it is over."""

    def __init__(self, directory: str, listener: socket.socket, version: str) -> None:
        self._directory, self._listener, self._version = directory, listener, version
        self._logs: dict[str, tuple[int, RotatedFile]] = {}
        self._readable: dict[int, RotatedFile] = {}
        self._peers: dict[int, tuple[socket.socket, bytearray]] = {}
        self._poll = select.poll()

    def run(self, ending: int, standby: int) -> bool:
        """Copy until `ending` is readable or nothing is left to do, which gives True.

        False where `standby` is: by then nothing is open here, and another Logger can go on.
        """
        for fd in (self._listener.fileno(), ending, standby):
            self._poll.register(fd, select.POLLIN)
        self._open_all()
        is_over = is_alone = False
        while not (is_over or is_alone):
            ready = {fd for fd, _ in self._poll.poll(None if self._logs else _IDLE_MS)}
            is_over = ending in ready or not (ready or self._logs)
            is_alone = standby in ready
            for fd in ready & self._readable.keys():
                self._copy(fd)
            for fd in ready & self._peers.keys():
                is_over |= self._answer(fd)
            if self._listener.fileno() in ready:
                self._accept()
        if is_over:
            self._leave()
        self._close_all()
        return is_over

    def _open_all(self) -> None:
        for name in os.listdir(self._directory):  # noqa: PTH208 - as above
            if name.endswith(".kept"):
                with suppress(OSError, ValueError, KeyError, TypeError):
                    self._open(name[: -len(".kept")])

    def _close_all(self) -> None:
        for container in list(self._logs):
            self._close(container)
        for peer, _ in self._peers.values():
            peer.close()  # who is not answered asks again

    def _leave(self) -> None:
        """Take away what leads here: who finds no socket makes one, who waits at ours is let go."""
        if self._listener.fileno() < 0:
            return
        said_nothing = [] if os.fstat(2).st_size else ["logger.log"]
        for name in (*said_nothing, "logger.sock"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self._directory}/{name}")  # noqa: PTH108 - as above
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            peer, _ = self._listener.accept()
            peer.setblocking(False)
            self._peers[peer.fileno()] = (peer, bytearray())
            self._poll.register(peer, select.POLLIN)

    def _answer(self, fd: int) -> bool:
        """Take what a peer says; gives whether there is nothing to stay for after it."""
        peer, said = self._peers[fd]
        received = b""
        with suppress(OSError):
            received = peer.recv(_LINE_BYTES)
        said += received
        if received and b"\n" not in said and len(said) < _LINE_BYTES:
            return False
        self._poll.unregister(fd)
        del self._peers[fd]
        with peer:
            if b"\n" not in said:
                return False
            verb, version, container = [*said.decode("utf-8", "replace").split(), "", "", ""][:3]
            is_ours = version == self._version and self._listener.fileno() >= 0
            answer = self._do(verb, container) if is_ours else ""
            if not (answer and self._logs):
                self._leave()  # before the peer goes on
            with suppress(OSError):
                peer.send(answer.encode())
        return not (answer and self._logs)

    def _do(self, verb: str, container: str) -> str:
        try:
            if verb == "open":
                self._open(container)
            elif verb == "close":
                self._close(container)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"{type(error).__name__}: {error}\n"
        return "ok\n"

    def _open(self, container: str) -> None:
        """Read a container's FIFO from now on, and write as its record says."""
        with open(f"{self._directory}/{container}.kept", "rb") as file:  # noqa: PTH123 - as above
            kept = json.load(file)
        target = RotatedFile(str(kept["log"]), int(kept["max_bytes"]), int(kept["files"]))
        self._close(container)
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(f"{self._directory}/{container}.fifo", flags)
        self._logs[container] = fd, target
        self._readable[fd] = target
        self._poll.register(fd, select.POLLIN)

    def _copy(self, fd: int) -> int:
        """Copy one block, so that one container that prints without end keeps no other waiting."""
        with suppress(BlockingIOError):
            block = os.read(fd, _BLOCK)
            self._readable[fd].write(block)
            return len(block)
        return 0

    def _close(self, container: str) -> None:
        """Write what is in the pipe, and leave it; one that is not read is no error."""
        if container not in self._logs:
            return
        fd, target = self._logs.pop(container)
        while self._copy(fd) == _BLOCK:
            pass
        self._poll.unregister(fd)
        del self._readable[fd]
        os.close(fd)
        target.close()


def stand_by() -> socket.socket:
    """Leave a process that waits for the end of this one, and goes on here where it was killed.

    Gives a socket that takes a byte from whoever ends by itself, and ends with the other one.
    """
    while True:
        here, there = socket.socketpair()
        if os.fork():
            there.close()
            return here
        here.close()
        if there.recv(1):
            os._exit(0)
        there.close()
        time.sleep(_AGAIN_S)


def main() -> None:
    """Become a process of its own, then copy until there is nothing left."""
    directory, listener, version = sys.argv[1], socket.socket(fileno=int(sys.argv[2])), sys.argv[3]
    # Twice, so that init reaps it; a session of its own, and the leader of its group.
    if between := os.fork():
        os.waitpid(between, 0)
        os._exit(0)
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # init reaps the others of us too
    # Two for each container: the usual 1024 would be enough for 500.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # One pipe for both processes: whichever is told to end, the one that works ends, and the other
    # with it.
    ending, told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGTERM, lambda *_: os.write(told, b"\0"))
    listener.setblocking(False)
    is_over = False
    while not is_over:
        with stand_by() as standby:
            try:
                is_over = Logger(directory, listener, version).run(ending, standby.fileno())
            finally:
                with suppress(OSError):
                    standby.send(b"\0")


if __name__ == "__main__":
    main()
