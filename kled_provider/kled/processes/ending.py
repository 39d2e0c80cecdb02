"""Detects the end of an agent's processes at once, and reads their last output.

A coordinator that waits for an agent uses it. It knows only processes of its own machine.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import trio

from kled_provider.kled.processes import running as processes
from kled_provider.kled.processes.process import directory_of
from kled_provider.kled.processes.running import ProcessDirectory, Running

LINES_MAX: Final = 5
_LINE_MAX: Final = 300
_BYTES_MAX: Final = 8192


async def wait_agent_end(
    workspace_id: str, process_directory: str, agent_id: str
) -> tuple[str, tuple[str, ...]]:
    """Return "" and the last lines an agent said, once every process here that it ran in has ended.

    How they ended nobody here knows, hence the "". `process_directory` is what
    `Host.process_directory` gives. Where the agent runs in no process of this machine, it waits
    until it is cancelled.
    """
    found = _of_agent(directory_of(workspace_id, process_directory), agent_id)
    if not found:
        await trio.sleep_forever()
    for _, running in found:
        await processes.wait_end(running)
    place, running = max(found, key=lambda each: each[1].started_at)
    return "", last_lines(place.log, running.log_start)


def _of_agent(directory: Path, agent_id: str) -> list[tuple[ProcessDirectory, Running]]:
    places = [
        ProcessDirectory(directory, record.stem) for record in sorted(directory.glob("*.json"))
    ]
    found = [(place, processes.recorded(place)) for place in places]
    return [
        (place, running) for place, running in found if running and running.agent_id == agent_id
    ]


def last_lines(log: Path, start: int) -> tuple[str, ...]:
    """Return the last lines of a log behind `start`, an offset in bytes; none where it has none.

    Its process may have put something else in its place: nothing but a file is read.
    """
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ()
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return ()
        start = min(start, found.st_size)
        begin = max(start, found.st_size - _BYTES_MAX)
        text = os.pread(descriptor, _BYTES_MAX, begin).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
    lines = text.splitlines()[1 if begin > start else 0 :]  # where it is cut, the first is no line
    said = [line.strip() for line in lines if line.strip()]
    return tuple(line[:_LINE_MAX] for line in said[-LINES_MAX:])
