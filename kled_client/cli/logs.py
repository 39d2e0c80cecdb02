"""`kled logs`: the log of a build, and what the scripts print that run after it."""

from __future__ import annotations

import base64
import sys
from collections.abc import Collection
from contextlib import aclosing, suppress
from typing import Any

import click

from kled_client.api.build_log import read_log
from kled_client.api.client import Api
from kled_client.api.models import Agent, Build, Workspace
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_client.cli.readiness import describe_run, describe_state
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
@click.option(
    "--follow",
    "-f",
    is_flag=True,
    help="Follow until the build and its start scripts end; with --container until it is removed.",
)
@click.option("--script", metavar="NAME", help="Print what one script printed last, unchanged.")
@click.option(
    "--container", metavar="NAME", help="Print what one container printed last, unchanged."
)
@pass_invocation
def logs(
    invocation: Invocation,
    workspace: WorkspaceRef,
    build: int | None,
    follow: bool,
    script: str | None,
    container: str | None,
) -> None:
    """Show the log of a workspace's build, the latest one by default, and of its scripts.

    Lines of a script begin with its name; AGENT--WS shows the scripts of that agent alone. The
    result of the build is printed on standard error and does not change the exit code. --script
    prints every byte as it was kept: the first 256 KiB and the last 64 KiB, without values of
    sensitive parameters. --container prints the last 256 KiB of a kata_container of the workspace,
    by its name in the template, also without those values; with --follow it then goes on with what
    the container prints.
    """
    if script is not None:
        _print_bytes(invocation.call(lambda api: _script_text(api, workspace, script)))
        return
    if container is not None:
        if follow:
            invocation.call(lambda api: _follow_container(api, workspace, container))
        else:
            _print_bytes(
                invocation.call(lambda api: api.container_output(str(workspace), container))
            )
        return
    printer = _Printer(invocation.output)

    found = invocation.call(lambda api: _print_build(api, printer, workspace, build, follow=follow))
    if printer.end is None:
        invocation.output.note(f"build {found['number']} ({found['transition']}) goes on")
    else:
        status, error = printer.end
        why = f": {error}" if error else ""
        invocation.output.note(f"build {found['number']} ({found['transition']}) {status}{why}")


async def _print_build(
    api: Api, printer: _Printer, ref: WorkspaceRef, number: int | None, *, follow: bool
) -> Build:
    """Print the log of a build and its scripts' output; with `follow`, until their end."""
    builds = await api.builds(str(ref))
    found = choose_build(builds, number, ref)
    if follow:
        await read_log(api, found["id"], printer.take)
    else:
        async for item in api.build_log(found["id"], follow=False):
            printer.take(item)
    is_waiting = follow and found["transition"] == "start" and found is builds[0]
    with suppress(NotFoundError):  # an older coordinator knows nothing of scripts
        if is_waiting:
            await _tell_of_agents(api, printer.output, ref, {"connecting"})
        await _print_scripts(api, printer.output, ref, found, follow=follow)
        if is_waiting:
            await _tell_of_agents(api, printer.output, ref, {"timed_out", "disconnected"})
    return found


async def _print_scripts(
    api: Api, output: Output, ref: WorkspaceRef, build: Build, *, follow: bool
) -> None:
    scripts = ScriptPrinter(output)
    async with aclosing(api.script_log(str(ref), build["number"], follow=follow)) as items:
        async for item in items:
            scripts.take(item)
    scripts.close()


async def _follow_container(api: Api, ref: WorkspaceRef, name: str) -> None:
    async with aclosing(api.follow_container(str(ref), name)) as pieces:
        async for piece in pieces:
            _print_bytes(piece)


def _print_bytes(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.flush()


class _Printer:
    """Prints lines, or with `--output json` every object as it came."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.end: tuple[str, str | None] | None = None

    def take(self, item: dict[str, Any]) -> None:
        if self.output.as_json:
            self.output.json_line(item)
        elif "seq" in item:
            self.output.line(str(item.get("text", "")))
        if isinstance(item.get("end"), dict):
            self.end = (str(item["end"].get("status")), item["end"].get("error"))


async def _script_text(api: Api, ref: WorkspaceRef, name: str) -> bytes:
    """What the newest run of a script printed. Raises NotFoundError.

    Of the agent that AGENT--WS names; where the workspace alone is named, its main agent's first.
    """
    found = await api.workspace(str(ref))
    main, agents = found.get("agent"), _agents_meant(found, ref)
    agents.sort(key=lambda each: main is None or each["id"] != main["id"])
    runs = [run for agent in agents for run in agent.get("scripts") or ()]
    for run in runs:
        if name in {run["name"], run["script"], run["id"]}:
            return await api.script_output(str(ref), run["agent"], run["id"])
    known = ", ".join(sorted({run["name"] for run in runs})) or "none"
    raise NotFoundError(
        "script_run_not_found", f"no script {name} has run in {ref}", hint=f"there are: {known}"
    )


def _agents_meant(found: Workspace, ref: WorkspaceRef) -> list[Agent]:
    """The agent that AGENT--WS names, or all agents where `ref` names only the workspace."""
    meant = next((agent for place, agent in ref.readings() if place == found["name"]), None)
    return [each for each in found.get("agents") or () if meant in {None, each["name"]}]


async def _tell_of_agents(
    api: Api, output: Output, ref: WorkspaceRef, states: Collection[str]
) -> None:
    """Say which agents are in one of these states, in which no script of theirs prints, and why."""
    found = await api.workspace(str(ref))
    for agent in _agents_meant(found, ref):
        if agent.get("state") in states:
            output.note(f"agent {agent['name']} {describe_state(agent, found)}")


class ScriptPrinter:
    """Prints what scripts print, each line with the name of its script before it.

    Scripts that run side by side print lines in turns, never within one another's.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._names: dict[str, str] = {}
        self._begun: dict[str, bytes] = {}

    def take(self, item: dict[str, Any]) -> None:
        """One object of the log."""
        if self._output.as_json:
            self._output.json_line(item)
        elif isinstance(item.get("script"), dict):
            self._take_state(item["script"])
        elif isinstance(item.get("output"), dict):
            self._take_output(item["output"])

    def close(self) -> None:
        """No more comes: print what has no line end."""
        for run, rest in self._begun.items():
            if rest:
                self._line(run, rest)
        self._begun.clear()

    def _take_state(self, run: dict[str, Any]) -> None:
        self._names[run["id"]] = run["name"]
        if run["state"] in {"waiting", "running"}:
            return
        if rest := self._begun.pop(run["id"], b""):
            self._line(run["id"], rest)
        self._output.flush()
        self._output.note(f"script {run['name']} {describe_run(run)}")

    def _take_output(self, output: dict[str, Any]) -> None:
        run = output["id"]
        if output["cut_bytes"]:
            self._line(run, self._begun.pop(run, b""))
            self._line(run, f"[... {output['cut_bytes']} bytes were cut here ...]".encode())
        *lines, begun = (self._begun.get(run, b"") + base64.b64decode(output["data"])).split(b"\n")
        for line in lines:
            self._line(run, line)
        self._begun[run] = begun
        self._output.flush()

    def _line(self, run: str, line: bytes) -> None:
        # Of a line that carriage returns have overwritten, such as a progress bar, the last text is
        # shown.
        text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
        self._output.line(f"[{self._names.get(run, run)}] {text}")


def choose_build(builds: list[Build], number: int | None, workspace: WorkspaceRef) -> Build:
    """The build of that number, else the newest. Raises NotFoundError."""
    for build in builds:
        if number is None or build["number"] == number:
            return build
    what = "no build yet" if number is None else f"no build {number}"
    raise NotFoundError(
        "build_not_found", f"{workspace} has {what}", hint=f"kled builds {workspace}"
    )
