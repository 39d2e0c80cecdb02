"""`kled cp`: copies files to and from workspaces."""

from __future__ import annotations

from functools import partial
from typing import Final

import click
import trio

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import complete_place
from kled_client.copy.plan import CopyPlan, plan_copy
from kled_client.terminal.interrupt import run
from kled_wire.counting import counted
from kled_wire.errors import KledError

# How many problems are printed: where nothing may be read, the first lines say enough.
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
    from kled_client.copy.copying import Copying

    began = trio.current_time()
    copying = Copying(plan=plan, recurse=recurse, env=invocation.env)
    with invocation.output.transfer("copying") as bar:
        copying.meter.show_by(bar.update)
        async with invocation.ssh(plan.workspace) as connection:
            await copying.run(connection)
    seconds = trio.current_time() - began
    if invocation.output.as_json or copying.files or not copying.problems:
        invocation.output.copied(copying.files, copying.content_bytes, seconds)
    if len(copying.problems) == 1:
        raise copying.problems[0]
    if copying.problems:
        for problem in copying.problems[:_PROBLEMS_MAX]:
            invocation.output.note(problem.shown())
        words = f"{counted(len(copying.problems), 'path')} could not be copied"
        raise KledError("copy_incomplete", words)
