"""`kled cp`: copies files to and from workspaces over SFTP."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import click
import trio

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import complete_place
from kled_client.copy.plan import CopyPlan, plan_copy
from kled_client.terminal.interrupt import run
from kled_wire.errors import KledError, NotFoundError

if TYPE_CHECKING:
    import asyncssh

# Of a tree in which nothing may be read the first lines say enough.
_PROBLEMS_MAX: Final = 20


@click.command()
@click.option("-r", "recurse", is_flag=True, help="Copy directories recursively.")
@click.argument(
    "paths", nargs=-1, required=True, metavar="SRC... DST", shell_complete=complete_place
)
@pass_invocation
def cp(invocation: Invocation, recurse: bool, paths: tuple[str, ...]) -> int:
    """Copy SRC to DST; one side is WORKSPACE:path.

    Remote paths are relative to the home directory; ~ and ~USER name home directories in the
    workspace. Times and modes are preserved; -r copies links as links. A target file appears only
    when it is complete. Write a local name that has a colon as ./like:this.
    """
    return run(partial(_copy, invocation, plan_copy(paths), recurse))


async def _copy(invocation: Invocation, plan: CopyPlan, recurse: bool) -> None:
    problems: list[KledError] = []
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with invocation.ssh(plan.workspace) as connection:
                with trio.CancelScope() as work:
                    # Ctrl-C ends the work first: what it leaves is removed over the connection.
                    nursery.start_soon(_pass_on, work)
                    scope.shield = True
                    await _move(invocation, connection, plan, recurse, problems.append)
                scope.shield = False
        nursery.cancel_scope.cancel()
    if len(problems) == 1:
        raise problems[0]
    if problems:
        for problem in problems[:_PROBLEMS_MAX]:
            invocation.output.note(problem.shown())
        raise KledError("copy_incomplete", f"{len(problems)} paths could not be copied")


async def _pass_on(work: trio.CancelScope) -> None:
    try:
        await trio.sleep_forever()
    finally:
        work.cancel()


async def _move(
    invocation: Invocation,
    connection: asyncssh.SSHClientConnection,
    plan: CopyPlan,
    recurse: bool,
    report: Callable[[KledError], None],
) -> None:
    """Copy over a connection that is there, and say how much it was. Raises KledError."""
    from kled_client.copy.transfer import Copier, Tally  # noqa: PLC0415  # asyncssh, only when it runs
    from kled_client.ssh.connection import aio  # noqa: PLC0415

    sources = [await _expanded(connection, plan, not plan.upload, s) for s in plan.sources]
    target = await _expanded(connection, plan, plan.upload, plan.target)
    sftp = await aio(connection.start_sftp_client, path_encoding=None)
    began = trio.current_time()
    with invocation.output.transfer("copying") as meter:

        def show(tally: Tally, path: bytes) -> None:
            name = path.rpartition(b"/")[2].decode("utf-8", "replace")
            meter.update(tally.done, tally.total, name)

        copier = Copier(
            sftp=sftp,
            workspace=str(plan.workspace),
            upload=plan.upload,
            recurse=recurse,
            show=show,
            report=report,
        )
        await copier.run(sources, target)
    tally = copier.tally
    invocation.output.copied(tally.files, tally.done, trio.current_time() - began)


async def _expanded(
    connection: asyncssh.SSHClientConnection, plan: CopyPlan, far: bool, path: str
) -> bytes:
    """The path as bytes, with another user's home directory in a far one looked up."""
    user = plan.far_user(path) if far else None
    if user is None:
        return os.fsencode(path)
    from kled_client.ssh.connection import aio  # noqa: PLC0415

    # `user` is plain letters: the shell's own expansion is what knows the users there.
    done = await aio(connection.run, f"printf %s ~{user}", encoding=None)
    home = done.stdout if isinstance(done.stdout, bytes) else b""
    if not home.startswith(b"/"):
        raise NotFoundError("file_not_found", f"{plan.workspace}:{path}: no such user there")
    return home + os.fsencode(path[1 + len(user) :])
