"""Programs on terminals and pipes: how they start, end, and what they leave open."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from kled_agent.machine.orphans import Children
from kled_agent.machine.users import LocalUser
from kled_agent.sessions.descriptors import (
    INPUT_HIGH_BYTES,
    Descriptor,
    InputQueue,
    read_all,
    read_rest,
)
from kled_agent.sessions.program import (
    Command,
    Program,
    exit_status,
    start_on_pipes,
    start_on_terminal,
    wait_ended,
)
from kled_agent.sessions.terminal import TerminalRequest
from kled_wire.scheduling import TypingPriority

TERMINAL = TerminalRequest(term="xterm", columns=100, rows=40)


@pytest.fixture
def children() -> Children:
    return Children()


def _command(user: LocalUser, children: Children, line: str | None) -> Command:
    return Command(user=user, environment={"A": "b"}, children=children, line=line)


async def _output(program: Program, children: Children) -> bytes:
    got: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all, program.stdout, got.append, TypingPriority())
        await wait_ended(program, children)
        if program.on_terminal:
            nursery.cancel_scope.cancel()
    await read_rest(program.stdout, got.append)
    program.close()
    return b"".join(got)


@pytest.mark.parametrize(
    ("line", "status"),
    [("exit 0", (0, None)), ("exit 3", (3, None)), ("kill -TERM $$", (None, "TERM")),
     ("kill -KILL $$", (None, "KILL")), ("kill -35 $$", (163, None))],
)  # fmt: skip
async def test_how_a_program_ended_is_known(
    user: LocalUser, children: Children, line: str, status: tuple[int | None, str | None]
) -> None:
    program = await start_on_pipes(_command(user, children, line))
    assert program.process.pid in children
    await wait_ended(program, children)
    assert program.process.pid not in children
    assert exit_status(program.process) == status
    program.close()


async def test_a_terminal_is_the_programs_controlling_one(
    user: LocalUser, children: Children
) -> None:
    line = (
        "tty < /dev/tty > /dev/null && stty size && echo $TERM $A && ps -o tpgid= -p $$ && echo $$"
    )
    program = await start_on_terminal(_command(user, children, line), TERMINAL)
    size, term, group, pid = (await _output(program, children)).decode().split("\r\n")[:4]
    assert (size, term) == ("40 100", "xterm b")
    assert group.strip() == pid


def _open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_no_descriptor_is_left_open(user: LocalUser, children: Children) -> None:
    before = _open_descriptors()
    for _ in range(3):
        await _output(await start_on_pipes(_command(user, children, "echo x")), children)
        await _output(await start_on_terminal(_command(user, children, "true"), TERMINAL), children)
        broken = _command(dataclasses.replace(user, shell="/no/such/shell"), children, "true")
        with pytest.raises(OSError, match="No such file"):
            await start_on_pipes(broken)
        with pytest.raises(OSError, match="No such file"):
            await start_on_terminal(broken, TERMINAL)
    assert _open_descriptors() == before


async def test_a_program_inherits_only_its_three_streams(
    user: LocalUser, children: Children
) -> None:
    program = await start_on_pipes(_command(user, children, "ls /proc/$$/fd"))
    assert set((await _output(program, children)).decode().split()) <= {"0", "1", "2"}


async def test_hanging_up_ends_what_runs_on_the_terminal(
    user: LocalUser, children: Children
) -> None:
    program = await start_on_terminal(_command(user, children, "sleep 1000"), TERMINAL)
    program.hang_up()
    with trio.fail_after(10):
        await wait_ended(program, children)
    assert exit_status(program.process) == (None, "HUP")


async def test_a_program_that_ignores_everything_is_killed_when_the_agent_ends(
    user: LocalUser,
) -> None:
    children = Children(grace_s=0.1)
    line = "trap '' HUP TERM; echo ready; while :; do sleep 1; done"
    program = await start_on_pipes(_command(user, children, line))
    await program.stdout.wait_readable()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_ended, program, children)
        nursery.cancel_scope.cancel()
    assert program.process.returncode == -signal.SIGKILL
    assert program.process.pid not in children


async def test_a_signal_reaches_the_whole_group(user: LocalUser, children: Children) -> None:
    program = await start_on_pipes(_command(user, children, "sleep 1000 | cat"))
    program.send_signal(signal.SIGTERM)
    with trio.fail_after(10):
        await wait_ended(program, children)
    program.send_signal(signal.SIGTERM)  # nobody is left
    program.close()


async def test_sizes_past_16_bits_are_cut(user: LocalUser, children: Children) -> None:
    huge = TerminalRequest(term="", columns=2**32 - 1, rows=70_000)
    program = await start_on_terminal(_command(user, children, "stty size; echo $TERM"), huge)
    assert (await _output(program, children)).split() == [b"65535", b"65535", b"dumb"]
    program.resize(huge)  # after the end: nothing happens


def _pipe() -> tuple[Descriptor, Descriptor]:
    read, write = os.pipe()
    return Descriptor(read), Descriptor(write)


async def test_input_waits_for_a_reader_and_asks_the_client_to_pause() -> None:
    reader, writer = _pipe()
    events: list[str] = []
    queue = InputQueue(
        writer, on_full=lambda: events.append("full"), on_room=lambda: events.append("room")
    )
    blob = os.urandom(INPUT_HIGH_BYTES * 2)
    got: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.run)
        for start in range(0, len(blob), 30_000):
            queue.write_nowait(blob[start : start + 30_000])
        queue.end_nowait()
        queue.write_nowait(b"after the end: lost")
        assert events == ["full"]
        nursery.start_soon(read_all, reader, got.append, TypingPriority())
        while sum(map(len, got)) < len(blob):
            await trio.sleep(0.001)
        writer.close()
    reader.close()
    assert b"".join(got) == blob
    assert events == ["full", "room"]


async def test_input_for_a_program_that_closed_it_is_lost() -> None:
    reader, writer = _pipe()
    queue = InputQueue(writer, on_full=_nothing, on_room=_nothing)
    reader.close()
    queue.write_nowait(b"x")
    await queue.run()
    writer.close()


@pytest.mark.parametrize("when", ["before", "during"])
async def test_a_descriptor_that_is_closed_ends_its_reader_and_its_writer(when: str) -> None:
    reader, writer = _pipe()
    queue = InputQueue(writer, on_full=_nothing, on_room=_nothing)
    queue.write_nowait(bytes(1_000_000))
    other, _kept = _pipe()
    if when == "before":
        writer.close()
        other.close()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.run)
            nursery.start_soon(read_all, other, lambda _data: None, TypingPriority())
            if when == "during":
                await trio.sleep(0.01)
                writer.close()
                other.close()
    for end in (reader, writer, other, _kept):
        end.close()


async def test_a_reader_waits_for_room() -> None:
    reader, writer = _pipe()
    room, got = trio.Event(), []

    def deliver(data: bytes) -> trio.Event | None:
        got.append(data)
        return room if len(got) == 1 else None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all, reader, deliver, TypingPriority())
        os.write(writer.number, b"one")
        await trio.testing.wait_all_tasks_blocked(0.01)
        os.write(writer.number, b"two")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert got == [b"one"]
        room.set()
        writer.close()
    reader.close()
    assert got == [b"one", b"two"]


def _nothing() -> None:
    return


def test_where_there_is_no_home_sessions_begin_at_the_root(user: LocalUser) -> None:
    assert dataclasses.replace(user, home="/no/such/home").directory() == "/"
    assert dataclasses.replace(user, home=str(Path.cwd())).directory() == str(Path.cwd())
