"""Makes Unix sockets as the sessions' user: here, or in a process of that user."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Final

import trio

from kled_agent.machine.orphans import Children, wait_child
from kled_agent.machine.users import LocalUser
from kled_agent.ssh.forwards.user_socket_process import Question, answer, read_answer

_THREADS: Final = 64


class UserSockets:
    """Asks for sockets. `nursery` holds the user's process, which is started at the first need."""

    def __init__(self, nursery: trio.Nursery, user: LocalUser, children: Children) -> None:
        self._nursery = nursery
        self._user = user
        self._children = children
        self._control: socket.socket | None = None
        self._starting = trio.Lock()
        self._limiter = trio.CapacityLimiter(_THREADS)

    async def connect(self, path: str) -> trio.SocketStream:
        """A connection to the socket at `path`, seen from the home directory. Raises OSError."""
        return trio.SocketStream(await self._ask(Question(what="connect", path=self._seen(path))))

    async def listen(self, path: str) -> trio.SocketListener:
        """A listener at `path` that its owner alone may use; see `remove`. Raises OSError."""
        made = await self._ask(Question(what="listen", path=self._seen(path)))
        return trio.SocketListener(made)

    async def listen_privately(self) -> trio.SocketListener:
        """A listener in a new directory that the user alone may enter. Raises OSError."""
        return trio.SocketListener(await self._ask(Question(what="listen_privately")))

    async def remove(self, path: str, *, private: bool = False) -> None:
        """Take away what a closed listener left, unless another has taken its place."""
        await self._send(Question(what="remove", path=path, private=private))

    def _seen(self, path: str) -> str:
        return os.path.join(self._user.home_directory(), path) if path else ""  # noqa: PTH118 - as text

    async def _ask(self, question: Question) -> trio.socket.SocketType:
        made = await self._send(question)
        assert made is not None
        return trio.socket.from_stdlib_socket(made)

    async def _send(self, question: Question) -> socket.socket | None:
        if self._user.owns_us():
            return await trio.to_thread.run_sync(
                answer, question, abandon_on_cancel=True, limiter=self._limiter
            )
        async with self._starting:
            if self._control is None:
                await self._nursery.start(self._keep_process)
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                assert self._control is not None
                socket.send_fds(self._control, [question.encode()], [theirs.fileno()])
            await trio.lowlevel.wait_readable(ours)
            return read_answer(ours)

    async def _keep_process(self, *, task_status: trio.TaskStatus[None]) -> None:
        module = "kled_agent.ssh.forwards.user_socket_process"
        argv = [sys.executable, "-P", "-m", module, self._user.job()]
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._children.starting():
                process = await trio.lowlevel.open_process(
                    argv,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
                    start_new_session=True,
                )
                self._children.started(process.pid)
            self._control = ours
            task_status.started()
            try:
                # The process ends when it sees the end of its socket.
                await wait_child(process, self._children, ask_to_end=ours.close)
            finally:
                self._control = None
