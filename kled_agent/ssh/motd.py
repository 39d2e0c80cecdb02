"""The message of the day: a file of the workspace that each new terminal shows, as a login does.

Nobody sees it who has a ~/.hushlogin (login(1)). It is read as the session's user: the agent may be
root, and the file a link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import trio

from kled_agent.machine.expanding import expand_path
from kled_agent.sessions.descriptors import read_all
from kled_agent.sessions.program import Command, start_on_pipes, wait_ended
from kled_wire.scheduling import TypingPriority

_MAX_BYTES: Final = 64 * 1024
# The deadline of a read: a FIFO, or a file of a lost network file system, delays a login no longer.
_READ_S: Final = 2.0
_SCRIPT: Final = '[ -e "$HOME/.hushlogin" ] || exec head -c "$1" <"$2"'


async def show_motd(path: str, session: Command, show: Callable[[bytes], object]) -> None:
    """Show a file before a shell on a terminal; nothing where it cannot be read, or `path` is "".

    A relative path is below the directory in which the session begins; `~` and variables are the
    user's.
    """
    path = expand_path(path, session.beginning())
    if path and session.line is None and not session.argv and (text := await _read(path, session)):
        show(text.replace(b"\n", b"\r\n"))


async def _read(path: str, session: Command) -> bytes:
    found = bytearray()
    argv = ("/bin/sh", "-c", _SCRIPT, "sh", str(_MAX_BYTES), path)
    try:
        program = await start_on_pipes(replace(session, argv=argv))
    except OSError:
        return b""
    try:
        with trio.move_on_after(_READ_S):
            await read_all(program.stdout, found.extend, TypingPriority())
    finally:
        program.close()
        with trio.CancelScope(deadline=trio.current_time()):  # a reader that goes on is ended
            await wait_ended(program, session.children)
    return bytes(found)
