"""The endpoints that are processes of this machine: the one here, and ssh to the far one.

Without Trio, whose import takes as long as ssh takes to connect: `started` has both go on at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from kled_client.sync.place import SyncPlace
from kled_wire.errors import UnavailableError
from kled_wire.limits import CLEANUP_S
from kled_wire.pipes import widen_pipe

_FAR_COMMAND: Final = "kled sync-server"
# Without ServerAliveInterval ssh never notices a network that drops packets silently.
_SSH_OPTIONS: Final = (
    "-o", "ClearAllForwardings=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
EndpointProcess = subprocess.Popen[bytes]


def start_endpoint(place: SyncPlace, env: Mapping[str, str]) -> EndpointProcess:
    """The process of the endpoint at `place`, which is in no workspace; it ends with its input.

    Raises UnavailableError("sync_far_end_missing").
    """
    command: tuple[str, ...] = (sys.executable, "-P", "-m", "kled_sync")
    if place.ssh is not None:
        command = ("ssh", "-T", *_SSH_OPTIONS, *place.ssh, _FAR_COMMAND)
    # The module must be found where an installation is not what Python looks through by itself.
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**env, "PYTHONPATH": paths},
        )
    except OSError as exc:
        raise UnavailableError(
            "sync_far_end_missing", f"{command[0]} cannot be started: {exc.strerror}"
        ) from exc
    for end in (process.stdin, process.stdout):
        assert end is not None
        widen_pipe(end.fileno())
    return process


@contextmanager
def started(
    *places: SyncPlace, env: Mapping[str, str]
) -> Iterator[tuple[EndpointProcess | None, ...]]:
    """The processes of the endpoints at `places`; None for one in a workspace.

    Those that are still there when the block ends are killed. Raises as `start_endpoint`.
    """
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(_killed(start_endpoint(place, env)))
            if place.workspace is None
            else None
            for place in places
        )


@contextmanager
def _killed(process: EndpointProcess) -> Iterator[EndpointProcess]:
    try:
        yield process
    finally:
        process.kill()  # which does nothing once it has been waited for
        for end in (process.stdin, process.stdout, process.stderr):
            if end is not None:
                end.close()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a disk which hangs
            process.wait(CLEANUP_S)
