"""Resource `kled_process`: the agent as a process on the coordinator's own machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from kled_provider.host import Host
from kled_provider.kled.agent import name_diagnostics, variable_diagnostics, variables
from kled_provider.kled.processes import running as processes
from kled_provider.kled.processes.running import ProcessDirectory, ProcessSpec, Running
from kled_provider.plugin.diagnostics import Diagnostic, raise_errors
from kled_provider.plugin.resource import Context, Resource
from kled_provider.plugin.schema import (
    NUMBER,
    Schema,
    computed,
    list_of,
    map_of,
    optional,
    required,
)
from kled_provider.plugin.values import UNKNOWN, Values, settled


class ProcessResource(Resource):
    """A process; any change of what it was started with means a new one."""

    type_name = "kled_process"
    identity = ("name",)
    schema = Schema(
        description="A process on the coordinator's machine, by default a Kled agent.",
        attributes=(
            required("name", "Name, unique within the workspace.", forces_replacement=True),
            required("agent_id", "The kled_agent that runs in it.", forces_replacement=True),
            optional(
                "command",
                "Argument vector; by default the agent of the coordinator's installation.",
                list_of("string"),
                forces_replacement=True,
            ),
            optional(
                "env",
                "Environment, in addition to HOME, LANG, PATH, SHELL and USER.",
                map_of("string"),
                forces_replacement=True,
            ),
            optional(
                "env_sensitive",
                "Further environment, hidden in plans and logs.",
                map_of("string"),
                sensitive=True,
                forces_replacement=True,
            ),
            optional(
                "user",
                "User to run as; another than the coordinator's needs a coordinator "
                "that runs as root.",
                forces_replacement=True,
            ),
            optional(
                "dir",
                "Working directory; by default the user's home directory.",
                forces_replacement=True,
            ),
            computed("id", "The name."),
            computed("pid", "Process id.", NUMBER),
            computed("log_path", "File with the output of the process."),
            computed("started_at", "Time of the start, in UTC."),
        ),
    )

    def validate(self, config: Values) -> list[Diagnostic]:
        """Check names, command and paths."""
        found = [*super().validate(config), *name_diagnostics(config["name"], "name")]
        command = config["command"]
        if isinstance(command, list):
            found += _command_diagnostics(command)
        directory = config["dir"]
        if isinstance(directory, str) and not directory.startswith("/"):
            detail = f"Use an absolute path; got {directory!r}."
            found.append(Diagnostic(summary="Invalid dir", detail=detail, path=("dir",)))
        for attribute in ("env", "env_sensitive"):
            found += variable_diagnostics(config[attribute], attribute)
        return found

    async def create(self, context: Context, planned: Values) -> Values:
        """Start or adopt the process; does not wait for the agent in it to connect."""
        place = await _place(context, planned)
        await context.host.progress(f"Starting process {planned['name']}")
        argv = planned["command"] or await context.host.agent_command()
        program = ProcessSpec(
            argv=tuple(argv),
            env={**variables(planned["env"]), **variables(planned["env_sensitive"])},
            user=planned["user"],
            directory=planned["dir"],
            agent_id=planned["agent_id"],
        )
        wrapper = await context.host.confine_process(
            processes.writable(place, program.user),
            program.directory or processes.home(program.user),
        )
        program = replace(program, wrapper=tuple(wrapper))
        running = await processes.start(place, program, context.generation or "", context.replaced)
        return _state(planned, place, running)

    async def read(self, context: Context, state: Values) -> Values | None:
        """Gone when the process is dead, so that the next start makes a new one."""
        place = await _place(context, state)
        running = processes.find(place)
        if running is None or running.is_ending or not _is_of(running, context, state):
            return None
        return _state(state, place, running)

    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """Nothing can change in place: find out what runs."""
        return await self.read(context, {**planned, "pid": prior["pid"]}) or settled(planned)

    async def delete(self, context: Context, state: Values) -> None:
        """End the process and all of its group, unless a later create has made it its own."""
        place = await _place(context, state)
        async with processes.hold(place):
            running = processes.recorded(place)
            if running is not None:
                if not _is_of(running, context, state):
                    return
                await context.host.progress(f"Stopping process {state['name']}")
                await processes.stop(place, running)
            await processes.forget_sessions(place, state["user"])


def _is_of(running: Running, context: Context, state: Values) -> bool:
    """Whether this state is the one that the process was made for, or adopted by, last."""
    known = context.generation in (None, running.generation)
    return known and state["pid"] in (None, running.pid)


def _command_diagnostics(command: list[object]) -> list[Diagnostic]:
    if not command:
        detail = "Give at least the program, or leave it out to start an agent."
        return [Diagnostic(summary="Empty command", detail=detail, path=("command",))]
    return [
        Diagnostic(summary="Invalid argument", detail=detail, path=("command", index))
        for index, argument in enumerate(command)
        for detail in [_argument_problem(argument, first=index == 0)]
        if detail
    ]


def _argument_problem(argument: object, *, first: bool) -> str:
    if argument is UNKNOWN:
        return ""
    if not isinstance(argument, str):
        return "It is null."
    if "\0" in argument:
        return "It holds a NUL byte."
    return "The program's name is empty." if first and not argument else ""


async def end_all(host: Host) -> None:
    """End every process of the workspace, also those that no state knows. Raises HostError."""
    await processes.stop_all(await _directory(host))


async def _directory(host: Host) -> Path:
    # Several workspaces may share the directory, and their processes may share names.
    workspace_id = str((await host.workspace())["id"])
    return directory_of(workspace_id, await host.process_directory())


def directory_of(workspace_id: str, process_directory: str) -> Path:
    """Where a workspace's processes have their records and logs."""
    return Path(process_directory) / quote(workspace_id, safe="")


async def _place(context: Context, values: Values) -> ProcessDirectory:
    # The name may come from a state that a template's own programs wrote, and it becomes a name of
    # files.
    raise_errors(name_diagnostics(values["name"] or "", "name"))
    return ProcessDirectory(await _directory(context.host), values["name"])


def _state(values: Values, place: ProcessDirectory, running: Running) -> Values:
    started_at = datetime.fromtimestamp(int(running.started_at), UTC)
    return {
        **values,
        "id": values["name"],
        "pid": running.pid,
        "log_path": str(place.log),
        "started_at": started_at.isoformat().replace("+00:00", "Z"),
    }
