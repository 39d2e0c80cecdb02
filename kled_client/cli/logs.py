"""`kled logs`: the log of a build."""

from __future__ import annotations

from typing import Any

import click

from kled_client.api.build_log import read_log
from kled_client.api.client import Api
from kled_client.api.models import Build
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_client.output import Output
from kled_wire.errors import NotFoundError
from kled_wire.names import WorkspaceRef


@click.command()
@workspace_argument
@click.option(
    "--build",
    type=click.IntRange(min=1),
    metavar="N",
    help="Build number; default: the latest build.",
)
@click.option("--follow", "-f", is_flag=True, help="Follow the log until the build ends.")
@pass_invocation
def logs(invocation: Invocation, workspace: WorkspaceRef, build: int | None, follow: bool) -> None:
    """Show the log of a workspace's build, the latest one by default.

    The result of the build is printed on standard error and does not change the exit code.
    """
    printer = _Printer(invocation.output)

    async def work(api: Api) -> Build:
        found = _choose(await api.builds(str(workspace)), build, workspace)
        if follow:
            await read_log(api, found["id"], printer.take)
        else:
            async for item in api.build_log(found["id"], follow=False):
                printer.take(item)
        return found

    found = invocation.call(work)
    if printer.end is None:
        invocation.output.note(f"build {found['number']} ({found['transition']}) goes on")
    else:
        status, error = printer.end
        why = f": {error}" if error else ""
        invocation.output.note(f"build {found['number']} ({found['transition']}) {status}{why}")


class _Printer:
    """Prints lines, or with `--output json` every object as it came."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.end: tuple[str, str | None] | None = None

    def take(self, item: dict[str, Any]) -> None:
        if self._output.as_json:
            self._output.json_line(item)
        elif "seq" in item:
            self._output.line(str(item.get("text", "")))
        if isinstance(item.get("end"), dict):
            self.end = (str(item["end"].get("status")), item["end"].get("error"))


def _choose(builds: list[Build], number: int | None, workspace: WorkspaceRef) -> Build:
    for build in builds:
        if number is None or build["number"] == number:
            return build
    what = "no build yet" if number is None else f"no build {number}"
    raise NotFoundError("build_not_found", f"{workspace} has {what}", hint=f"kled show {workspace}")
