"""One child process of the data plane: starts it, talks to it, and restarts it when it dies.

When the coordinator stops, it sends the process a stop, or lets it serve its connections to their
end, for which the process reads the end of its control socket. The control socket is a Unix
SOCK_SEQPACKET: a packet arrives whole, with its sockets (SCM_RIGHTS, unix(7)), or not at all.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from kled_coord.environment import clean_environment
from kled_wire import limits
from kled_wire.backoff import Backoff
from kled_wire.errors import UnavailableError

# A process that dies at once, again and again, is started ever more slowly; one that has lived
# longer than the last of these waits begins anew.
_RESTART: Final = Backoff(first_s=0.25, cap_s=15.0)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarProgram:
    """What to run: a module, its arguments before the control socket's number, its last order."""

    kind: str
    module: str
    arguments: Sequence[str] = ()
    stop: bytes
    packet_max: int


class Sidecar(ABC):
    """A process that is kept running while `run` is; `on_change` is told when it comes and goes."""

    def __init__(self, program: SidecarProgram, on_change: Callable[[], None]) -> None:
        self._program = program
        self.on_change = on_change
        self._control: trio.socket.SocketType | None = None
        self._sending = trio.Lock()
        self.leaving = False

    @property
    @abstractmethod
    def load(self) -> int:
        """How much it has to do."""

    @abstractmethod
    def heard(self, packet: bytes) -> None:
        """The process has sent a packet."""

    @abstractmethod
    def lost(self) -> None:
        """The process is gone, and with it the connections that it had."""

    @abstractmethod
    def restarting(self) -> None:
        """The process is about to be started again."""

    @property
    def running(self) -> bool:
        """Whether there is a process to hand sockets to."""
        return self._control is not None

    def leave(self) -> None:
        """When `run` is cancelled, leave the process with what it has instead of stopping it."""
        self.leaving = True

    def cut(self) -> None:
        """When `run` is cancelled, stop the process after all."""
        self.leaving = False

    async def send(self, packet: bytes, descriptors: Sequence[int] = ()) -> None:
        """Say something, whole or not at all. Raises UnavailableError("<kind>_restarting")."""
        async with self._sending:
            if self._control is None:
                raise self._refusal()
            rights = b"".join(number.to_bytes(4, sys.byteorder) for number in descriptors)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
            try:
                await self._control.sendmsg([packet], ancillary)
            except (OSError, trio.ClosedResourceError) as exc:
                raise self._refusal() from exc

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a process until cancelled; then it is told to stop and waited for, or left.

        Raises OSError when the first one cannot be started.
        """
        process = await self._start()
        task_status.started()
        failures = 0
        while True:
            began = trio.current_time()
            try:
                await self._listen()
            finally:
                await self._finish(process)
            lived = trio.current_time() - began
            log.error(
                "process_died",
                kind=self._program.kind,
                status=process.returncode,
                load=self.load,
                seconds=lived,
            )
            failures = 1 if lived > _RESTART.cap_s else failures + 1
            process = await self._start_again(failures)

    def _refusal(self) -> UnavailableError:
        kind = self._program.kind
        return UnavailableError(f"{kind}_restarting", f"the {kind} is restarting", hint="try again")

    async def _start_again(self, failures: int) -> trio.Process:
        while True:
            await trio.sleep(_RESTART.ceiling(failures))
            self.restarting()
            try:
                return await self._start()
            except OSError as exc:
                log.error("process_not_started", kind=self._program.kind, reason=exc.strerror)
                failures += 1

    async def _start(self) -> trio.Process:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = self._program
        try:
            with theirs:
                number = theirs.fileno()
                process = await trio.lowlevel.open_process(
                    [sys.executable, "-P", "-m", program.module, *program.arguments, str(number)],
                    stdin=subprocess.DEVNULL,
                    env=clean_environment(os.environ),
                    pass_fds=[number],
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        self._control = trio.socket.from_stdlib_socket(ours)
        self.on_change()
        return process

    async def _listen(self) -> None:
        """Take what it says until it is gone."""
        assert self._control is not None
        while packet := await self._receive(self._control):
            self.heard(packet)
        # From now on new streams wait for the next process.
        self._hang_up()
        self.lost()

    async def _receive(self, control: trio.socket.SocketType) -> bytes:
        try:
            return await control.recv(self._program.packet_max)
        except ConnectionError:
            return b""

    async def _finish(self, process: trio.Process) -> None:
        """We are cancelled, or the process is gone: leave it, or see it ended."""
        if self.leaving:
            self._hang_up()
            return
        with trio.move_on_after(limits.CLEANUP_S, shield=True):
            await self._stop(process)
        self.lost()
        if process.returncode is None:
            process.kill()

    async def _stop(self, process: trio.Process) -> None:
        try:
            await self.send(self._program.stop)
        except UnavailableError:
            log.debug("process_gone_already")
        self._hang_up()
        await process.wait()

    def _hang_up(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            control.close()
            self.on_change()
