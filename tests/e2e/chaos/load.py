"""What runs all the time: each load checks every byte it gets back, and may never end by itself."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.chaos.restarts import TOLD_S
from tests.e2e.chaos.world import World
from tests.kit.site import BIN
from tests.kit.terminal import Terminal

# A load that has come no further after all trouble is over has been lost. Seconds.
GO_ON_S = 120.0
# Within a load nothing is waited for less long than the longest trouble: `finish` ends it. Seconds.
PATIENCE_S = 3600.0
_PACE_S = 0.1
_RETYPE_S = 3.0
# A program in the session that nobody's coming and going may disturb; it ends with its terminal.
_TICKING = "i=0; while sleep 0.1 && echo tick=$((i+=1)).; do :; done &\n"


class LostError(Exception):
    """What a load noticed."""


_LOST = (LostError, OSError, AssertionError, ValueError, subprocess.TimeoutExpired)


class Load(ABC):
    """One program or more of the person's, in a thread of its own.

    `told` is how it ends when the agent was killed: the exit status, and what is said. None: it
    goes on.
    """

    def __init__(self, name: str, world: World, told: tuple[int, str] | None = None) -> None:
        self.name = name
        self._told = told
        self.world = world
        self.bytes_total = 0
        self.checks = 0
        self.anew = 0
        self.lost: str | None = None
        self.lost_at = self.checked_at = 0.0
        self.stopping = threading.Event()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._errors = world.topology.site.root / f"errors of {name}"
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name=name)

    @abstractmethod
    def work(self) -> None:
        """Until `stopping`; then end in good order. Raises LostError, OSError, AssertionError."""

    def has_begun(self) -> bool:
        """Whether something has come back, or never will."""
        return self.checks > 0 or self.lost is not None

    def start(self) -> None:
        self._thread.start()

    def finish(self, deadline: float) -> None:
        """After `stopping` was set: wait for the end in good order."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._given_up = True
            self._kill()
            self._thread.join()

    def groups(self) -> list[int]:
        """The process groups of its programs."""
        return [process.pid for process in self._processes if process.poll() is None]

    def popen(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        """Start a program where the client is."""
        with self._errors.open("wb") as errors:
            process = subprocess.Popen(
                command,
                env=self.world.topology.site.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def checked(self, count: int) -> None:
        """So many bytes have come back as they were."""
        self.bytes_total += count
        self.checks += 1
        self.checked_at = time.monotonic()

    def _run(self) -> None:
        try:
            with self.world.topology.client.entered():
                while self._works_again():
                    pass
        except _LOST as exc:
            self.lost_at = time.monotonic()
            self.lost = f"{type(exc).__name__}: {exc}"[:500]
            if self._given_up:
                self.lost = f"it did not go on: {self.lost}"

    def _works_again(self) -> bool:
        """Work to the end; whether that was only because the agent was killed, as it should be."""
        restarts, checks = self.world.restarts, self.checks
        seen = restarts.count
        try:
            self.work()
            return False
        except _LOST:
            if self._given_up or restarts.count == seen or self._told is None:
                raise
            if self.checks > checks:
                self._check_told(*self._told)
            restarts.check_in_time(seen)
        finally:
            self._kill()
            for process in self._processes:
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()
            self._processes = []
        self.anew += 1
        restarts.wait_back(PATIENCE_S)
        return not self.stopping.is_set()

    def _check_told(self, code: int, words: str) -> None:
        ended = self._processes[-1].wait(TOLD_S)
        said = self._errors.read_text()
        if ended != code or words not in said:
            raise LostError(f"the agent was killed, which ended it with {ended} and {said!r}")

    def _kill(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Shell(Load):
    """A shell that is asked for something again and again; it must stay the same one."""

    def __init__(
        self, name: str, world: World, command: Sequence[str | Path], told: tuple[int, str]
    ) -> None:
        super().__init__(name, world, told)
        self._command = command

    def work(self) -> None:
        process = self.popen(self._command)
        assert process.stdin is not None
        assert process.stdout is not None
        shell_pid, number = b"", 0
        with process.stdin as ours, os.fdopen(os.dup(process.stdout.fileno()), "rb") as theirs:
            while not self.stopping.wait(_PACE_S):
                number += 1
                token = os.urandom(random.randrange(1, 2000)).hex()
                ours.write(f"echo {number} {token} $$\n".encode())
                line = theirs.readline()
                start, _, pid = line.rstrip().rpartition(b" ")
                if start != f"{number} {token}".encode() or pid != (shell_pid or pid):
                    raise LostError(f"{line[:100]!r} is not the answer to number {number}")
                shell_pid = pid
                self.checked(len(line))
            ours.write(b"exit 7\n")
        if (code := process.wait()) != 7:
            raise LostError(f"it ended with {code}")


class Session(Load):
    """A named terminal with a person at it."""

    def work(self) -> None:
        command: list[str | Path] = [BIN / "kled", "ssh", "dev", "--session", "chaos"]
        terminal = Terminal(command, self.world.topology.site.env)
        self._processes.append(terminal.process)
        try:
            self._type(terminal)
        finally:
            os.close(terminal.ours)

    def _type(self, terminal: Terminal) -> None:
        terminal.type("stty -echo; echo up=$((20+1))\n")
        terminal.wait_for("up=21", within_s=PATIENCE_S)
        terminal.type(_TICKING)
        number = 0
        while not self.stopping.wait(_PACE_S):
            number += 1
            self._ask(
                terminal, f"echo n={number} $(({number} * 7)).\n", f"n={number} {number * 7}."
            )
            self.checked(len(terminal.text))
            terminal.text = ""
        self._check_log()
        terminal.type("kill $!; exit 7\n")
        if (code := terminal.process.wait(PATIENCE_S)) != 7:
            raise LostError(f"it ended with {code}")

    def _ask(self, terminal: Terminal, line: str, answer: str) -> None:
        """Type until there is an answer: keys that are on their way die with the agent."""
        terminal.type(line)
        while True:
            try:
                terminal.wait_for(answer, within_s=_RETYPE_S)
                return
            except AssertionError as exc:
                if terminal.process.poll() is not None:
                    raise
                if self.world.restarts.over_s() > TOLD_S:
                    raise LostError("nobody attaches again") from exc
            if self.world.restarts.count:
                terminal.type(line)

    def _check_log(self) -> None:
        """All that was written is there, whether somebody was attached or not."""
        site = self.world.topology.site
        # Asked for, a log is not waited for; the coordinator may have been away until now.
        site.wait_connected("dev")
        log = site.kled("session", "log", "dev", "chaos").stdout
        ticks = [int(number) for number in re.findall(r"tick=(\d+)\.", log)]
        if ticks != list(range(1, len(ticks) + 1)) or not ticks:
            raise LostError(f"not all of the {len(ticks)} ticks are in the log: {ticks!r}")
        adopted = self.world.agent.count("session_adopted")
        if adopted != self.world.restarts.count:
            raise LostError(f"adopted {adopted} times by {self.world.restarts.count} agents")


class Sftp(Load):
    """OpenSSH's sftp: a file there and back, one connection for all of them."""

    def work(self) -> None:
        site = self.world.topology.site
        words = ["sftp", "-F", str(site.ssh_config), "-o", "ControlPath=none", "-b", "-"]
        process = self.popen([*words, "dev.kled"])
        assert process.stdin is not None
        assert process.stdout is not None
        there, here, back = (site.root / f"sftp-{name}" for name in ("there", "here", "back"))
        number = 0
        with process.stdin as ours, os.fdopen(os.dup(process.stdout.fileno()), "rb") as theirs:
            while not self.stopping.wait(_PACE_S):
                number += 1
                data = os.urandom(random.randrange(1, 4_000_000))
                here.write_bytes(data)
                ours.write(
                    f"put {here} {there}\nget {there} {back}\n!echo done {number}\n".encode()
                )
                while (line := theirs.readline()).rstrip() != f"done {number}".encode():
                    if not line:
                        raise LostError(f"sftp ended with {process.wait()}")
                if hashlib.sha256(back.read_bytes()).digest() != hashlib.sha256(data).digest():
                    raise LostError(f"file {number} of {len(data)} bytes came back as another")
                self.checked(2 * len(data))
            ours.write(b"bye\n")
        if code := process.wait():
            raise LostError(f"it ended with {code}")


class Bulk(Load):
    """A stream of bytes through `cat`, as fast as it is allowed to."""

    def __init__(
        self,
        name: str,
        world: World,
        command: Sequence[str | Path],
        told: tuple[int, str],
        bytes_per_s: int,
    ) -> None:
        super().__init__(name, world, told)
        self._command = command
        self._bytes_per_s = bytes_per_s

    def work(self) -> None:
        process = self.popen(self._command)
        sent = _Counted()
        sender = threading.Thread(target=self._send, args=(process, sent))
        sender.start()
        got = _Counted()
        assert process.stdout is not None
        while data := process.stdout.read(1 << 18):
            got.take(data)
            self.checked(len(data))
        sender.join()
        if not self.stopping.is_set():
            raise LostError(f"it ended with {process.wait()} after {got.size} bytes")
        if (got.size, got.digest.digest()) != (sent.size, sent.digest.digest()):
            raise LostError(f"{sent.size} bytes went and {got.size} came, or others")
        if code := process.wait():
            raise LostError(f"it ended with {code}")

    def _send(self, process: subprocess.Popen[bytes], sent: _Counted) -> None:
        assert process.stdin is not None
        block = os.urandom(1 << 18)
        pause_s = len(block) / self._bytes_per_s
        with contextlib.suppress(OSError), process.stdin as pipe:
            while not self.stopping.wait(pause_s):
                piece = block[sent.size % 1000 :]
                while piece:
                    taken = pipe.write(piece)
                    sent.take(piece[:taken])
                    piece = piece[taken:]


class _Counted:
    """Bytes that went by."""

    def __init__(self) -> None:
        self.size = 0
        self.digest = hashlib.sha256()

    def take(self, data: bytes) -> None:
        self.size += len(data)
        self.digest.update(data)
