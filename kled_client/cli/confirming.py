"""Asks for confirmation before something is deleted."""

from __future__ import annotations

import sys
from typing import Final

import click

from kled_wire.errors import InputError, KledError

_ANSWERS: Final = {"y": True, "yes": True, "": False, "n": False, "no": False}


def confirm_deletion(name: str, question: str, *, yes: bool) -> None:
    """Return where the person agrees. Raises KledError("not_deleted") where they do not."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("not_confirmed", f"deleting {name} needs a confirmation", hint="add --yes")
    if not click.confirm(question, err=True):
        raise KledError("not_deleted", f"{name} was not deleted")


async def confirmed(question: str) -> bool:
    """As `click.confirm`, for whoever has other tasks: Ctrl-C ends it before the next Enter."""
    import trio

    while True:
        click.echo(f"{question} [y/N]: ", nl=False, err=True)
        await trio.lowlevel.wait_readable(sys.stdin)
        answer = _ANSWERS.get(sys.stdin.readline().strip().lower())
        if answer is not None:
            return answer
