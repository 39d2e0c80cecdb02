"""One Terraform process: starts it, reads it, and stops it so that it saves its state.

One SIGINT asks Terraform to stop: it saves the state, waits for what runs, saves again and gives
the lock back. A second one would make it exit at once and lose what ran, no better than SIGKILL
does; so there is one, then time, then SIGKILL to its group (docs/provider.md). Only Terraform's own
pid gets the SIGINT: its children must go on. Once it has ended, by itself or not, its process group
is ended too: what it leaves there is plugins and programs that nobody listens to any more.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from kled_coord.sandbox.inside import interrupt_confined
from kled_coord.terraform.output.errors import TerraformMissingError
from kled_coord.terraform.output.lines import LineSplitter
from kled_coord.terraform.process.command import TerraformCommand
from kled_coord.terraform.process.leftovers import end_processes, of_group
from kled_coord.terraform.process.nurseries import one_error
from kled_wire.pipes import widen_pipe

OnLine = Callable[[bytes], Awaitable[None]]

RECEIVE_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StopLimits:
    """How long Terraform may take to stop after SIGINT, and after SIGKILL, in seconds."""

    interrupt_s: float = 60.0  # after SIGINT: what runs is a create or a delete of a container
    save_s: float = 2.0  # then, and where nobody waits for that: it saves its state at SIGINT
    kill_s: float = 5.0
    # After its end, until what it printed is read: a program it has left behind may hold the pipe
    # open for ever.
    drain_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Interrupt:
    """How another task stops a build: `ask`, and if that takes too long, `force`."""

    asked: trio.Event = field(default_factory=trio.Event)
    forced: trio.Event = field(default_factory=trio.Event)

    def ask(self) -> None:
        """Let Terraform stop cleanly. A second call changes nothing."""
        self.asked.set()

    def force(self) -> None:
        """Do not wait any longer for the clean stop; what was saved by then is kept."""
        self.asked.set()
        self.forced.set()


async def run_terraform(
    command: TerraformCommand,
    *,
    on_line: OnLine,
    on_stderr: OnLine,
    interrupt: Interrupt,
    limits: StopLimits,
) -> int:
    """Run the command to its end; returns its exit code, negative for a signal.

    Each line it prints is given to `on_line` or `on_stderr`, one at a time. Cancelled, it stops
    Terraform as an Interrupt does, shielded and for at most the sum of `limits`.
    Raises TerraformMissingError where it cannot be started, and what the callbacks raise.
    """
    process, out, err = await _start(command)
    ask_to_stop = partial(_interrupt, process, is_confined=command.is_confined)
    with one_error():
        # The readers go on while a cancelled run winds down, or Terraform would block on a full
        # pipe.
        async with trio.open_nursery() as nursery:
            readers = [trio.CancelScope(shield=True), trio.CancelScope(shield=True)]
            stop = nursery.cancel_scope.cancel
            nursery.start_soon(_read_lines, out, on_line, readers[0], stop)
            nursery.start_soon(_read_lines, err, on_stderr, readers[1], stop)
            await _wait(process, readers, interrupt, limits, ask_to_stop)
    return _exit_code(process, is_confined=command.is_confined)


async def _wait(
    process: trio.Process,
    readers: Sequence[trio.CancelScope],
    interrupt: Interrupt,
    limits: StopLimits,
    ask_to_stop: Callable[[], None],
) -> None:
    try:
        await _wait_end_or(process, interrupt.asked)
    finally:
        # Once only, for whatever reason: each further SIGINT means something else.
        with trio.CancelScope(shield=True):
            await _wind_down(process, interrupt, limits, ask_to_stop)
            await _end_group(process.pid)
        for reader in readers:
            reader.deadline = trio.current_time() + limits.drain_s


async def _start(
    command: TerraformCommand,
) -> tuple[trio.Process, trio.abc.ReceiveStream, trio.abc.ReceiveStream]:
    """The process, its standard output and its standard error.

    It holds the reading ends too. Else a line that it prints after a death of this process would
    end it by SIGPIPE, with the state that it has not saved.
    """
    out, err = _make_pipe(), _make_pipe()
    try:
        process = await trio.lowlevel.open_process(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=out[1],
            stderr=err[1],
            pass_fds=(out[0], err[0]),
            cwd=command.directory,
            env=command.environment,
            start_new_session=True,
        )
    except BaseException as error:
        os.close(out[0])
        os.close(err[0])
        if not isinstance(error, OSError):
            raise
        raise TerraformMissingError(
            "terraform_missing", f"cannot start {command.argv[0]}: {error}"
        ) from error
    finally:
        os.close(out[1])
        os.close(err[1])
    return process, trio.lowlevel.FdStream(out[0]), trio.lowlevel.FdStream(err[0])


def _make_pipe() -> tuple[int, int]:
    """A pipe that takes what Terraform prints until somebody interrupts it, where it can."""
    reader, writer = os.pipe()
    widen_pipe(writer)
    return reader, writer


async def _read_lines(
    stream: trio.abc.ReceiveStream,
    on_line: OnLine,
    scope: trio.CancelScope,
    stop: Callable[[], None],
) -> None:
    splitter = LineSplitter()
    is_read = False
    with scope:
        async with stream:
            try:
                async for data in stream:
                    for line in splitter.feed(bytes(data)):
                        await on_line(line)
                for line in splitter.finish():
                    await on_line(line)
                is_read = True
            finally:
                if not is_read:
                    # A callback failed. While Terraform stops, its pipe must not fill up.
                    stop()
                    async for _ in stream:
                        pass


def _interrupt(process: trio.Process, *, is_confined: bool) -> None:
    """Send SIGINT to Terraform alone."""
    if is_confined:
        interrupt_confined(process.pid)
    else:
        process.send_signal(signal.SIGINT)


def _exit_code(process: trio.Process, *, is_confined: bool) -> int:
    """The exit code, negative for a signal. bwrap says it as a shell does: 128 and the signal."""
    code = process.returncode
    if code is None:  # a process that survives SIGKILL waits for a broken disk; it counts as killed
        return -signal.SIGKILL
    return 128 - code if is_confined and code > 128 else code


async def _wind_down(
    process: trio.Process,
    interrupt: Interrupt,
    limits: StopLimits,
    ask_to_stop: Callable[[], None],
) -> None:
    """Bring the process to its end. Does nothing where it has ended."""
    if process.poll() is None:
        ask_to_stop()
        with trio.move_on_after(limits.interrupt_s):
            await _wait_end_or(process, interrupt.forced)
    if process.poll() is None:
        with trio.move_on_after(limits.save_s):
            await process.wait()
    if process.poll() is None:
        process.kill()
        with trio.move_on_after(limits.kill_s):
            await process.wait()


async def _end_group(group: int) -> None:
    """SIGKILL to a process group whose leader has ended; returns when all of it has ended.

    Raises LeftoversError.
    """
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # there is none, or only what has become another user
    await end_processes(of_group(group), grace_s=0)


async def _wait_end_or(process: trio.Process, event: trio.Event) -> None:
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        await process.wait()
        nursery.cancel_scope.cancel()
