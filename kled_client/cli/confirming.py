"""Asks for confirmation before something is deleted."""

from __future__ import annotations

import sys

import click

from kled_wire.errors import InputError, KledError


def confirm_deletion(name: str, question: str, *, yes: bool) -> None:
    """Return where the person agrees. Raises KledError("not_deleted") where they do not."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("not_confirmed", f"deleting {name} needs a confirmation", hint="add --yes")
    if not click.confirm(question, err=True):
        raise KledError("not_deleted", f"{name} was not deleted")
