"""`kled ssh` and `kled exec`: programs in the workspace on our own standard streams."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import nullcontext
from functools import partial

import click

from kled_client.cli.context import Session, pass_session, workspace_argument
from kled_client.interact import run_session
from kled_client.interrupt import run
from kled_client.terminal import raw_mode, sent_environment, size
from kled_wire.names import WorkspaceRef

_command_argument = click.argument("command", nargs=-1, type=click.UNPROCESSED)
# Options after WORKSPACE belong to the command, as in ssh(1).
_SETTINGS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(context_settings=_SETTINGS)
@click.option("-A", "forward_agent", is_flag=True, help="Let the workspace use your SSH agent.")
@click.option("-t/-T", "terminal", default=None, help="Force a terminal, or forbid one.")
@workspace_argument
@_command_argument
@pass_session
def ssh(
    session: Session,
    forward_agent: bool,
    terminal: bool | None,
    workspace: WorkspaceRef,
    command: tuple[str, ...],
) -> int:
    """Open a shell in WORKSPACE, or run COMMAND there by its shell.

    The exit status is the command's, 128 plus the number for a signal, 255 when the connection
    broke. At the start of a line, ~. leaves.
    """
    wanted = sys.stdin.isatty() and not command if terminal is None else terminal
    line = " ".join(without_dashes(command)) or None
    return run(partial(_run, session, workspace, line, wanted, forward_agent))


@click.command("exec", context_settings=_SETTINGS)
@workspace_argument
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
@pass_session
def exec_(session: Session, workspace: WorkspaceRef, command: tuple[str, ...]) -> int:
    """Run COMMAND in WORKSPACE, its words exactly as given, without a terminal.

    Standard input, output and error stay apart; the exit status is the command's. For a shell's
    features: kled exec WORKSPACE -- sh -c '…'.
    """
    line = shlex.join(without_dashes(command))
    return run(partial(_run, session, workspace, line, False, False))


def without_dashes(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command without the `--` that may stand between it and the workspace."""
    return command[1:] if command[:1] == ("--",) else command


async def _run(
    session: Session, ref: WorkspaceRef, command: str | None, terminal: bool, forward_agent: bool
) -> int:
    from kled_client.ssh import open_channel  # noqa: PLC0415  # asyncssh, only when it runs

    descriptor = sys.stdin.fileno()
    described = None
    if terminal:
        described = (session.env.get("TERM") or "xterm", *size(sys.stdout.fileno()))
    async with session.ssh(ref, forward_agent=forward_agent) as connection:
        channel = await open_channel(
            connection, command, env=sent_environment(session.env), terminal=described
        )
        raw = raw_mode(descriptor) if terminal and os.isatty(descriptor) else nullcontext()
        with raw:
            return await run_session(channel, descriptor, interactive=terminal)
