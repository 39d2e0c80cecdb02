"""The process that holds one named session, so that it outlives every client and the agent.

It owns the terminal and the shell's process, always reads what the terminal writes into a bounded
ring (ring.py), and serves the socket in its directory (frames.py). One loop, no threads, the
standard library only: it stays small and has little that could fail. Started by directory.py with
a job on standard input; says one line of JSON when the session is there or cannot be.

Its working directory is the session's (place.py); the terminal is in held.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from kled_agent.machine.descendants import become_reaper, kill_descendants
from kled_agent.sessions.ending import signal_named, told_status
from kled_agent.sessions.holder import place
from kled_agent.sessions.holder.client import AttachedClient
from kled_agent.sessions.holder.frames import (
    Attach,
    Attached,
    Done,
    Ended,
    Frame,
    FrameError,
    Input,
    Kill,
    ReadLog,
    Refused,
    Rename,
    Resize,
    SendSignal,
    SessionStatus,
    Stat,
    encode,
)
from kled_agent.sessions.holder.held import READ_BYTES, ShellTerminal
from kled_agent.sessions.holder.lifetime import Lifetime, decide_size
from kled_agent.sessions.holder.loop import HolderLoop
from kled_agent.sessions.holder.picture import Pictures
from kled_agent.sessions.holder.ring import Ring
from kled_agent.sessions.holder.shell import (
    HANGUP_S,
    ShellJob,
    foreground_program,
    start_shell,
)
from kled_agent.sessions.terminal import signal_group
from kled_wire.screenmodes import ScreenModes

# How long clients get to take the rest when the session is over.
LINGER_S: Final = 5.0
QUIET_S: Final = 0.1
REST_BYTES: Final = 1024 * 1024
CLIENTS: Final = 64
# A program redraws only when the size has really changed when it looks.
NUDGE_S: Final = 0.12
SEND_BUFFER_BYTES: Final = 4 * 1024


class Holder:
    """The session's state and its loop."""

    def __init__(
        self, job: dict[str, Any], shell: tuple[int, int], listener: socket.socket
    ) -> None:
        self.name: str = job["name"]
        self._policy = job["size_policy"]
        terminal = job["shell"]["terminal"]
        self._loop = HolderLoop()
        self._shell = shell[0]
        size = terminal["columns"], terminal["rows"]
        self._terminal = ShellTerminal(shell, size, self._loop.selector, self._on_terminal)
        self._listener = listener
        self._ring = Ring(Path(place.OUTPUT), job["ring_bytes"])
        self._modes = ScreenModes()
        self._lifetime = Lifetime(
            idle_s=job["idle_s"], orphan_s=job["orphan_s"], now=time.monotonic()
        )
        self._tick_s: float = job["tick_s"]
        self._clients: dict[socket.socket, AttachedClient] = {}
        self._created_at = self._active_at = time.time()
        self._actions = 0
        self._ended: Ended | None = None
        self._reason = ""
        self._pictures = Pictures(self._loop.selector)
        self._over = False

    # --- the loop

    def run(self) -> None:
        """Serve until the session is over and everybody was told."""
        self._loop.on_signals(self._on_signals, signal.SIGCHLD, signal.SIGTERM)
        self._loop.watch(self._listener, selectors.EVENT_READ, self._on_connection)
        self._loop.after(self._tick_s, self._tick)
        self._reap()
        while not self._over:
            # Clients first: a key must not wait for the flood that it is to stop.
            self._loop.step(last=self._terminal.descriptor)
            self._serve_clients()

    def _tick(self) -> None:
        self._loop.after(self._tick_s, self._tick)
        now = time.monotonic()
        if any(c.attached for c in self._clients.values()):
            self._lifetime.used(now)
        if place.agent_is_there():
            self._lifetime.agent_seen(now)
        if place.is_removed():
            self._end("its directory was removed")
        elif reason := self._lifetime.over(now):
            self._end(reason)

    # --- the shell and its terminal

    def _on_signals(self, woken: socket.socket, _mask: int) -> None:
        numbers = woken.recv(4096)
        if signal.SIGTERM in numbers:
            self._end("the workspace stops")
        self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._shell and self._ended is None:
                    self._shell_ended(os.waitstatus_to_exitcode(status))

    def _shell_ended(self, code: int) -> None:
        status, name = told_status(code)
        self._read_rest()
        self._ended = Ended(code=status, signal=name, reason=self._reason)
        if self._reason:
            kill_descendants()
        self._terminal.unwatch()
        # The name is free for the next from now on; who is attached still gets the rest.
        place.remove_files(self.name)
        self._loop.after(LINGER_S, self._leave)

    def _leave(self) -> None:
        self._over = True

    def _read_rest(self) -> None:
        """What the terminal still holds; a program in the background may write for ever."""
        left = REST_BYTES
        while left > 0 and self._terminal.is_readable(QUIET_S) and (size := self._take_output()):
            left -= size

    def _on_terminal(self, _terminal: int, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._terminal.flush()
        if mask & selectors.EVENT_READ:
            self._take_output()

    def _take_output(self) -> int:
        """Take what the terminal gives; returns how many bytes that is."""
        data = self._terminal.read()
        if data:
            self._ring.append(data)
            self._modes.feed(data)
            self._active_at = time.time()
            self._lifetime.used(time.monotonic())
        return len(data)

    def _end(self, reason: str) -> None:
        """Hang up the session, and kill what does not go."""
        if self._reason or self._ended is not None:
            return
        self._reason = reason
        self._terminal.signal(signal.SIGHUP)
        for number in (signal.SIGHUP, signal.SIGCONT):
            signal_group(self._shell, number)
        self._loop.after(HANGUP_S, self._kill)

    def _kill(self) -> None:
        kill_descendants()
        self._reap()

    def _resize(self) -> None:
        size = decide_size((c.viewer() for c in self._attached()), self._policy)
        if size is not None:
            self._terminal.resize(size)

    def _nudge(self) -> None:
        """Make a full-screen program draw everything: another size, and back."""
        self._terminal.shrink()
        self._loop.after(NUDGE_S, self._terminal.restore)

    # --- clients

    def _attached(self) -> list[AttachedClient]:
        return [c for c in self._clients.values() if c.attached]

    def _on_connection(self, listener: socket.socket, _mask: int) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            if len(self._clients) >= CLIENTS:
                connection.close()
                return
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self._clients[connection] = AttachedClient()
            self._loop.watch(connection, selectors.EVENT_READ, self._on_client)

    def _on_client(self, connection: socket.socket, mask: int) -> None:
        client = self._clients[connection]
        if not mask & selectors.EVENT_READ:
            return  # `_serve_clients` sends
        try:
            data = connection.recv(READ_BYTES)
            for frame in client.decoder.feed(data):
                self._handle(client, frame)
        except BlockingIOError:
            return
        except (OSError, FrameError):
            data = b""
        if not data:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._clients.pop(connection)
        self._loop.watch(connection, 0, self._on_client)
        connection.close()
        self._resize()

    def _serve_clients(self) -> None:
        blocked = self._terminal.is_full
        for connection, client in list(self._clients.items()):
            if client.fill(self._ring, self._modes, self.name):
                self._draw(client)
            rest = client.attached and (client.drawing or client.offset < self._ring.end)
            if self._ended is not None and not client.closing and not rest:
                client.out += encode(self._ended)
                client.closing = True
            if not self._send(connection, client):
                continue
            reading = 0 if blocked and client.attached else selectors.EVENT_READ
            more = client.out or client.wants_more(self._ring)
            writing = selectors.EVENT_WRITE if more else 0
            self._loop.watch(connection, reading | writing, self._on_client)
        if self._ended is not None and not self._clients:
            self._over = True

    def _send(self, connection: socket.socket, client: AttachedClient) -> bool:
        """Send what the socket takes. False when the client is gone."""
        try:
            while client.out:
                sent = connection.send(memoryview(client.out)[: 64 * 1024].tobytes())
                del client.out[:sent]
        except BlockingIOError:
            return True
        except OSError:
            self._drop(connection)
            return False
        if client.closing:
            self._drop(connection)
            return False
        return True

    def _handle(self, client: AttachedClient, frame: Frame) -> None:
        self._actions += 1
        match frame:
            case Input() | SendSignal() | Resize():
                self._act(client, frame)
            case Attach():
                self._attach(client, frame)
            case Kill():
                client.out += encode(Done())
                self._end("it was killed")
            case Rename():
                client.out += encode(self._rename(frame.name))
            case Stat():
                client.out += encode(self._status())
            case ReadLog():
                end = self._ring.end
                client.log = max(self._ring.start, end - max(0, frame.size)), end
            case _:
                raise FrameError(f"{type(frame).__name__} is sent by the holder only")

    def _act(self, client: AttachedClient, frame: Input | SendSignal | Resize) -> None:
        if not client.attached or client.read_only:
            return
        client.active = self._actions
        self._active_at = time.time()
        if isinstance(frame, Resize):
            client.columns, client.rows = frame.columns, frame.rows
        self._resize()
        if isinstance(frame, Input):
            client.typed(frame, self._ring, self._modes, self.name)
            self._terminal.type(frame.data)
        elif isinstance(frame, SendSignal):
            number = signal_named(frame.name)
            if number is not None:
                self._terminal.signal(number)

    def _attach(self, client: AttachedClient, frame: Attach) -> None:
        client.attached, client.read_only = True, frame.read_only
        client.columns, client.rows = frame.columns, frame.rows
        client.active = self._actions
        client.out += encode(Attached(offset=self._ring.end))
        if frame.after is not None:
            client.offset = min(max(frame.after, self._ring.start), self._ring.end)
        drawn = self._terminal.size
        self._resize()
        if frame.after is None and self._ring.end:
            self._draw(client, drawn)

    def _draw(self, client: AttachedClient, drawn: tuple[int, int] | None = None) -> None:
        """A picture of what the terminal wrote at the size `drawn`, for the size it has now."""
        client.drawing = True
        client.offset = self._ring.end
        size = self._terminal.size
        self._pictures.ask(
            self._ring, self._modes, drawn=drawn or size, shown=size, answer=client.drawn
        )
        if self._modes.alternate and not self._pictures.whole:
            self._loop.after(NUDGE_S, self._nudge)

    def _rename(self, name: str) -> Frame:
        try:
            if not place.rename(self.name, name):
                return Refused(code="session_exists", message=f"there is a session {name}")
        except OSError as exc:
            return Refused(code="session_not_renamed", message=exc.strerror or str(exc))
        self.name = name
        place.write_record(self.name, self._shell, self._created_at)
        return Done()

    def _status(self) -> SessionStatus:
        attached = self._attached()
        watchers = sum(c.read_only for c in attached)
        columns, rows = self._terminal.size
        return SessionStatus(
            name=self.name,
            pid=os.getpid(),
            shell_pid=self._shell,
            created_at=self._created_at,
            active_at=self._active_at,
            clients=len(attached) - watchers,
            watchers=watchers,
            columns=columns,
            rows=rows,
            output_total=self._ring.end,
            kept_bytes=self._ring.end - self._ring.start,
            program=foreground_program(self._terminal.descriptor, self._shell),
        )


def _detach_from_agent() -> None:
    """A process of its own: what the agent started ends, and we belong to whoever reaps orphans."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)


def _say(line: dict[str, Any]) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)


def main() -> None:
    """Hold the session that the job on standard input describes."""
    job = json.load(sys.stdin)
    _detach_from_agent()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR2, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        os.chdir(job["directory"])
        become_reaper()
        shell = start_shell(ShellJob.from_json(job["shell"]))
        listener = place.listen()
        holder = Holder(job, shell, listener)
        place.write_record(holder.name, shell[0], time.time())
    except OSError as exc:
        _say({"error": exc.strerror or str(exc), "what": exc.filename or ""})
        os._exit(1)
    _say({"pid": os.getpid(), "shell_pid": shell[0]})
    try:
        holder.run()
    finally:
        place.remove_files(holder.name)


if __name__ == "__main__":
    main()
