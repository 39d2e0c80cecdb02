"""Unpacks an upload in a process with a deadline, so that it cannot block the coordinator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Final

import trio

from kled_coord.environment import clean_environment
from kled_coord.store.template_records import Variable
from kled_coord.templates import archive_process
from kled_coord.templates.archive import Archive, invalid
from kled_wire.errors import InputError

# On a machine with other work; the processor time is limited more closely.
DEADLINE_S: Final = 3.0 * archive_process.CPU_S


async def open_archive(upload: bytes, *, deadline_s: float = DEADLINE_S) -> Archive:
    """As `check_archive`. Raises InputError("template_invalid"), OSError where nothing starts."""
    with trio.move_on_after(deadline_s):
        done = await trio.run_process(
            [sys.executable, "-P", "-m", archive_process.__name__],
            stdin=upload,
            capture_stdout=True,
            stderr=subprocess.DEVNULL,
            check=False,
            env=clean_environment(os.environ),
            deliver_cancel=_kill,
        )
        line, _, tar = done.stdout.partition(b"\n")
        if done.returncode == 0:
            return _archive(json.loads(line), tar)
    raise invalid("it takes too long to open, or too much memory")


def _archive(answer: dict[str, Any], tar: bytes) -> Archive:
    if error := answer.get("error"):
        raise InputError("template_invalid", error["message"], hint=error["hint"])
    return Archive(
        tar=tar,
        files=tuple(answer["files"]),
        variables=tuple(Variable(**each) for each in answer["variables"]),
        backends=tuple(answer["backends"]),
        readme=answer["readme"],
    )


async def _kill(process: trio.Process) -> None:
    process.kill()
    await trio.lowlevel.checkpoint()
