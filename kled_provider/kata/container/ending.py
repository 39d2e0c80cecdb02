"""Detects the end of the container that an agent runs in, and says what ended it.

A coordinator that waits for the agent asks: it is told at once instead of waiting in vain. So it is
of an agent that ends again and again beside a command that goes on: `kled-init`, which starts it
each time, says so in what the container prints (docs/bundle.md).
"""

from __future__ import annotations

import re
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import trio

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.caller import ContainerdError
from kled_provider.containerd.containers import ContainerRecord
from kled_provider.kata.container.identity import (
    AGENT_LABEL,
    NAME_LABEL,
    WORKSPACE_LABEL,
    is_kept_running,
)
from kled_provider.kata.container.place import is_oom_killed
from kled_provider.kata.output.following import LogPosition, end_position, read_on
from kled_provider.kata.output.keeping import outputs_of
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.kled.processes.ending import last_lines

# A container that is restarted each time is reported as ended after so many ends.
_ENDS_OF_KEPT: Final = 3
AGENT_ENDED: Final = re.compile(rb"kled-init: agent: exit code (\d{1,3}), end (\d{1,9}) in a row;")
_LINE_BYTES: Final = 256
_READ_BYTES: Final = 64 << 10
# How long the last output may take through the FIFO and the process that writes the log.
_OUTPUT_S: Final = 1.0
_LOOK_AGAIN_S: Final = 0.05
_MIB: Final = 1 << 20
_BY_SIGNAL: Final = 128


async def wait_agent_container(
    api: ContainerdApi, owner: OwnerFile, workspace: str, agent_id: str
) -> tuple[str, tuple[str, ...]]:
    """Return how the container that an agent runs in has ended, and the last lines it printed.

    Where there is no such container, it waits until it is cancelled. Raises ContainerdError.
    """
    found = await api.containers.list(
        f'labels."{WORKSPACE_LABEL}"=="{workspace}",labels."{AGENT_LABEL}"=="{agent_id}"'
    )
    if not found:
        await trio.sleep_forever()
    ended: list[str] = []
    log = outputs_of(owner).log(found[0].id)
    async with trio.open_nursery() as nursery:

        async def run(wait: Callable[[], Awaitable[str]]) -> None:
            ended.append(await wait())
            nursery.cancel_scope.cancel()

        nursery.start_soon(run, partial(_container_end, api, owner, found[0]))
        nursery.start_soon(run, partial(_agent_ends, found[0].labels[NAME_LABEL], log))
    return ended[0], await _last_lines(log)


async def _container_end(api: ContainerdApi, owner: OwnerFile, record: ContainerRecord) -> str:
    kept = is_kept_running(record)
    code = await (_wait_ends(api, record.id) if kept else _wait_end(api, record.id))
    labels = (await api.containers.find(record.id) or record).labels
    limit = None
    if is_oom_killed(labels, owner.containerd.namespace, record.id):
        limit = record.spec["linux"]["resources"]["memory"]["limit"]
    return how_it_ended(record.labels[NAME_LABEL], code, limit)


async def _agent_ends(name: str, log: Path) -> str:
    """Wait for an agent that ends again and again; says how. What was said before counts for none.

    It may be of a week ago; one that goes on is told with the next end, after half a minute.
    """
    position, begun = LogPosition(0, 0), b""
    with suppress(FileNotFoundError):  # nothing was printed yet
        position = end_position(log, 0)
    while True:
        data = b""
        with suppress(FileNotFoundError):
            data, position = await trio.to_thread.run_sync(read_on, log, position, _READ_BYTES)
        *lines, begun = (begun + data).split(b"\n")
        begun = begun[-_LINE_BYTES:]
        for found in filter(None, map(AGENT_ENDED.search, lines)):
            code, ends = int(found[1]), int(found[2])
            if ends >= _ENDS_OF_KEPT:
                return (
                    f"beside the command of container {name}, {ends} times in a row, last with "
                    f"exit code {code}"
                )
        if not data:
            await trio.sleep(_LOOK_AGAIN_S)  # nothing tells that something was printed


async def _wait_end(api: ContainerdApi, container: str) -> int | None:
    """Wait for a task to end; gives its exit code, None where it is not known any more."""
    try:
        return await api.tasks.wait(container)
    except ContainerdError as error:
        if error.is_missing or error.is_of_dead_shim:
            return None
        raise


async def _wait_ends(api: ContainerdApi, container: str) -> int | None:
    """Wait for a container, which containerd starts again each time, to end for good."""
    ends = 0
    async with api.events.open_subscription('topic=="/tasks/exit"') as events:
        async for event in events:
            code = event.exit_code(container)
            ends += code is not None
            if ends == _ENDS_OF_KEPT:
                return code
    return None


def how_it_ended(name: str, code: int | None, used_up: int | None) -> str:
    """Say how a container ended; `used_up` is the limit, in bytes, where the kernel killed it."""
    said = f"container {name} ended"
    if code is not None:
        said += f" with exit code {code}"
        with suppress(ValueError):
            said += f" ({signal.Signals(code - _BY_SIGNAL).name})"
    if used_up is not None:
        said += f", OOM-killed: a process of it needed more than its {used_up // _MIB} MiB"
    return said


async def _last_lines(log: Path) -> tuple[str, ...]:
    lines: tuple[str, ...] = ()
    with trio.move_on_after(_OUTPUT_S):
        while not lines or lines != last_lines(log, 0):
            lines = last_lines(log, 0)
            await trio.sleep(_LOOK_AGAIN_S)  # nothing tells that the log is whole
    return tuple(line for line in lines if not AGENT_ENDED.search(line.encode()))
