"""`kled session …`: the named terminals of a workspace."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import trio

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import Items, answer, items, workspace_argument
from kled_client.output import ago
from kled_client.ssh.session_control import ask_sessions, copy_log
from kled_client.terminal.interrupt import run
from kled_wire.errors import UnavailableError
from kled_wire.names import WorkspaceRef, check_name
from kled_wire.ssh.subsystems import SESSION, SessionCommand

if TYPE_CHECKING:
    from kled_client.ssh.channel import Channel

_TIMES = ("created_at", "active_at")


def complete_session(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """The sessions of the workspace that stands before."""
    ref = ctx.params.get("workspace")
    if not isinstance(ref, WorkspaceRef):
        return []

    async def find(invocation: Invocation) -> list[str]:
        async with _channel(invocation, ref) as channel:
            return [
                s["name"]
                for s in (await ask_sessions(channel, SessionCommand(op="list")))["sessions"]
            ]

    return items(answer(ctx, find), incomplete)


_name_argument = click.argument("name", shell_complete=complete_session)


@click.group()
def session() -> None:
    """Manage named shells that survive disconnection: kled ssh WORKSPACE --session NAME."""


@session.command("list")
@workspace_argument
@pass_invocation
def list_(invocation: Invocation, workspace: WorkspaceRef) -> None:
    """List the sessions of WORKSPACE."""
    found = _do(invocation, workspace, SessionCommand(op="list"))["sessions"]
    columns = {
        "NAME": [s["name"] for s in found],
        "PROGRAM": [s["program"] or "-" for s in found],
        "ATTACHED": [_attached(s) for s in found],
        "SIZE": [f"{s['columns']}x{s['rows']}" for s in found],
        "STARTED": [ago(_moment(s["created_at"])) for s in found],
        "ACTIVE": [ago(_moment(s["active_at"])) for s in found],
    }
    raw = [{**s, **{key: _moment(s[key]) for key in _TIMES}} for s in found]
    empty = f"no sessions (kled ssh {workspace} --session NAME)"
    invocation.output.rows(raw, columns, empty, spare=("SIZE", "STARTED", "ACTIVE"))


@session.command()
@workspace_argument
@_name_argument
@pass_invocation
def kill(invocation: Invocation, workspace: WorkspaceRef, name: str) -> None:
    """End the session NAME and all of its processes."""
    check_name("session", name)
    _do(invocation, workspace, SessionCommand(op="kill", name=name))
    invocation.output.note(f"session {name} was killed")


@session.command()
@workspace_argument
@_name_argument
@click.argument("new_name")
@pass_invocation
def rename(invocation: Invocation, workspace: WorkspaceRef, name: str, new_name: str) -> None:
    """Rename the session NAME to NEW_NAME."""
    check_name("session", name)
    check_name("session", new_name)
    _do(invocation, workspace, SessionCommand(op="rename", name=name, to=new_name))
    invocation.output.note(f"session {name} is now {new_name}")


@session.command()
@workspace_argument
@_name_argument
@click.option("--bytes", "size", type=click.IntRange(1), help="Print only the last N bytes.")
@pass_invocation
def log(invocation: Invocation, workspace: WorkspaceRef, name: str, size: int | None) -> int:
    """Print the stored output of the session NAME, with its escape sequences."""
    check_name("session", name)
    request = SessionCommand(op="log", name=name, bytes=size)
    return run(partial(_log, invocation, workspace, request))


def _do(invocation: Invocation, ref: WorkspaceRef, request: SessionCommand) -> dict[str, Any]:
    answers: list[dict[str, Any]] = []

    async def ask() -> None:
        async with _channel(invocation, ref) as channel:
            answers.append(await ask_sessions(channel, request))

    code = run(ask)
    if not answers:
        click.get_current_context().exit(code)
    return answers[0]


@asynccontextmanager
async def _channel(invocation: Invocation, ref: WorkspaceRef) -> AsyncIterator[Channel]:
    from kled_client.ssh.connection import open_channel

    async with invocation.ssh(ref) as connection:
        try:
            channel = await open_channel(connection, None, env={}, subsystem=SESSION)
        except UnavailableError as exc:
            raise UnavailableError(
                "sessions_unavailable",
                f"the agent of {ref} does not support named sessions",
                hint="restart the workspace to get a newer agent",
            ) from exc
        yield channel


async def _log(invocation: Invocation, ref: WorkspaceRef, request: SessionCommand) -> None:
    async with _channel(invocation, ref) as channel:
        await copy_log(channel, request, sys.stdout.buffer.write)
    await trio.to_thread.run_sync(sys.stdout.buffer.flush)


def _attached(found: dict[str, Any]) -> str:
    if found["watchers"]:
        return f"{found['clients']} + {found['watchers']} watching"
    return str(found["clients"] or "-")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
