"""`kled create`, `start`, `restart`, `stop`, `delete` and `retry`: builds."""

from __future__ import annotations

from typing import Any

import click

from kled_client.api.build_log import follow_build, saying_what_goes_on
from kled_client.api.client import Api
from kled_client.api.models import Workspace
from kled_client.cli.confirming import confirm_deletion
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import (
    VersionType,
    complete_template,
    complete_workspace,
    workspace_argument,
)
from kled_client.cli.option_group import option_group
from kled_client.cli.parameters import GivenParameters, choose_parameters, parameter_options
from kled_client.cli.plan import plan_option, show_changes, show_plan
from kled_client.cli.readiness import advice_of, agent_status, first_in, wait_ready
from kled_client.output import Output
from kled_wire.errors import ConflictError, InputError, KledError, NotFoundError
from kled_wire.names import WorkspaceRef, check_new_workspace_name

# An agent that dials in after a VM's boot; the coordinator answers as soon as it is there.
AGENT_TIMEOUT_S = 120.0
QUEUED, AGENT, READY = "no", "agent", "ready"
# How far a command waits for a build, as the parameter `wait`; a start may wait for less than all.
_no_wait = click.option(
    "--no-wait",
    "wait",
    flag_value=QUEUED,
    default=READY,
    help="Return as soon as the build is queued.",
)
wait_options = option_group(
    click.option(
        "--wait",
        "wait",
        type=click.Choice([QUEUED, AGENT, READY]),
        default=READY,
        help="Wait for the agent to connect or, by default, also for scripts that block logins.",
    ),
    _no_wait,
)


@click.command()
@click.argument("name")
@click.option(
    "--template",
    "-t",
    help="Template; optional when there is only one.",
    shell_complete=complete_template,
)
@click.option(
    "--template-version",
    type=VersionType(),
    metavar="VERSION",
    help="Template version, by number or name; default: the active one.",
)
@parameter_options
@click.option(
    "--copy-from",
    metavar="WS",
    help="Copy the parameters of another workspace except sensitive ones.",
    shell_complete=complete_workspace,
)
@click.option("--yes", "-y", is_flag=True, help="Take defaults without asking.")
@wait_options
@pass_invocation
def create(  # each is one option of the command
    invocation: Invocation,
    /,
    name: str,
    template: str | None,
    template_version: int | str | None,
    copy_from: str | None,
    yes: bool,
    wait: str,
    **options: Any,
) -> None:
    """Create the workspace NAME and wait until it is ready."""
    check_new_workspace_name(name)
    given = given_parameters(options, copy_from=copy_from, take_defaults=yes)
    body: dict[str, Any] = {"name": name, **given.body()}
    if template_version is not None:
        body["version"] = template_version

    async def work(api: Api) -> Workspace:
        body["template"] = template or await _only_template(api)
        body["parameters"] = await choose_parameters(
            api,
            invocation.output,
            given,
            template=body["template"],
            version=body.get("version"),
            kept={},
        )
        made = await api.create_workspace(body)
        return await _finish(invocation, api, made, "creating", wait=wait)

    announce(invocation, invocation.call(work), wait=wait)


@click.command()
@workspace_argument
@parameter_options
@plan_option
@wait_options
@pass_invocation
def start(
    invocation: Invocation, /, workspace: WorkspaceRef, plan: bool, wait: str, **options: Any
) -> None:
    """Start a workspace and wait until it is ready; parameters not given keep their values."""
    given = given_parameters(options)

    async def work(api: Api) -> Workspace | None:
        before = await api.workspace(str(workspace))
        version = before["template_version"]
        body = await start_body(api, invocation.output, before, version, given)
        if plan:
            show_changes(invocation.output, await api.plan(before["id"], body))
            return None
        return await build_and_wait(invocation, api, before, body, "starting", wait=wait)

    announce(invocation, invocation.call(work), wait=wait)


@click.command()
@workspace_argument
@parameter_options
@wait_options
@pass_invocation
def restart(invocation: Invocation, /, workspace: WorkspaceRef, wait: str, **options: Any) -> None:
    """Stop a workspace and start it again; parameters not given keep their values.

    The coordinator starts it once it is stopped, also when this command was interrupted. With a
    wrong parameter nothing is stopped.
    """
    given = given_parameters(options)

    async def work(api: Api) -> Workspace:
        before = await api.workspace(str(workspace))
        version = before["template_version"]
        body = await start_body(api, invocation.output, before, version, given)
        body["transition"] = "restart"
        return await build_and_wait(invocation, api, before, body, "restarting", wait=wait)

    found = invocation.call(work)
    announce(invocation, found, wait=wait, stopped=found["status"] == "stopped")


@click.command()
@workspace_argument
@wait_options
@pass_invocation
def retry(invocation: Invocation, workspace: WorkspaceRef, wait: str) -> None:
    """Run the latest build of a workspace again, if it failed or was cancelled.

    The new build has the same version and parameters. It continues from the saved state: resources
    that exist are not made again.
    """

    async def work(api: Api) -> Workspace:
        before = await api.workspace(str(workspace))
        failed = before["latest_build"]
        if failed is None:
            raise ConflictError("build_not_retryable", f"{workspace} has no build")
        build = await api.retry_build(failed["id"])
        what = f"retrying the {build['transition']} of"
        queued: Workspace = {**before, "latest_build": build}
        return await _finish(invocation, api, queued, what, wait=wait)

    found = invocation.call(work)
    last = found["latest_build"]
    is_start = last is not None and last["transition"] == "start"
    announce(invocation, found, wait=wait, stopped=not is_start)


@click.command()
@workspace_argument
@plan_option
@_no_wait
@pass_invocation
def stop(invocation: Invocation, workspace: WorkspaceRef, plan: bool, wait: str) -> None:
    """Stop a workspace. Resources that the template keeps are not destroyed."""
    if plan:
        show_plan(invocation, workspace, {"transition": "stop"})
        return
    found = _end(invocation, workspace, {"transition": "stop"}, "stopping", wait=wait)
    announce(invocation, found, wait=wait, stopped=True)


@click.command()
@workspace_argument
@click.option("--yes", "-y", is_flag=True, help="Delete without asking.")
@click.option("--orphan", is_flag=True, help="Remove the record only; leave the resources.")
@plan_option
@_no_wait
@pass_invocation
def delete(
    invocation: Invocation,
    /,
    workspace: WorkspaceRef,
    *,
    yes: bool,
    orphan: bool,
    plan: bool,
    wait: str,
) -> None:
    """Delete a workspace and everything in it."""
    if plan:
        show_plan(invocation, workspace, {"transition": "delete"})
        return
    confirm_deletion(str(workspace), f"Destroy {workspace} and everything in it?", yes=yes)
    body: dict[str, Any] = {"transition": "delete"}
    if orphan:
        body["orphan"] = True
    _end(invocation, workspace, body, "deleting", wait=wait)
    if wait != QUEUED:
        invocation.output.note(f"{workspace} is deleted")


async def _only_template(api: Api) -> str:
    names = [template["name"] for template in await api.templates()]
    if len(names) == 1:
        return names[0]
    raise InputError(
        "template_missing",
        f"which template? There are {', '.join(names)}" if names else "there is no template yet",
        hint="--template NAME" if names else "kled template push DIR",
    )


def given_parameters(options: dict[str, Any], **more: Any) -> GivenParameters:
    return GivenParameters(
        words=options["param"], file=options["param_file"], preset=options["preset"], **more
    )


async def start_body(
    api: Api, output: Output, before: Workspace, version: int, given: GivenParameters
) -> dict[str, Any]:
    body = {"transition": "start", **given.body()}
    if not given and version == before["template_version"]:
        return body  # it has all that its version needs
    parameters = await choose_parameters(
        api,
        output,
        given,
        template=before["template"],
        version=version,
        kept=before.get("parameters") or {},
        workspace=before["id"],
    )
    return {**body, "parameters": parameters} if parameters else body


def _end(
    invocation: Invocation, ref: WorkspaceRef, body: dict[str, Any], what: str, *, wait: str
) -> Workspace:
    async def work(api: Api) -> Workspace:
        before = await api.workspace(str(ref))
        return await build_and_wait(invocation, api, before, body, what, wait=wait)

    return invocation.call(work)


async def build_and_wait(
    invocation: Invocation,
    api: Api,
    before: Workspace,
    body: dict[str, Any],
    what: str,
    *,
    wait: str,
) -> Workspace:
    build = await api.start_build(before["id"], body)
    queued: Workspace = {**before, "latest_build": build}
    return await _finish(invocation, api, queued, what, wait=wait)


async def _finish(
    invocation: Invocation, api: Api, queued: Workspace, what: str, *, wait: str
) -> Workspace:
    """Follow the latest build; after a start, wait for the agent and its scripts as well."""
    build = queued["latest_build"]
    if wait == QUEUED or build is None:
        return queued
    title = f"{what} {queued['name']}"
    await follow_build(api, build, invocation.output, what=title, verbose=invocation.verbose)
    match build.get("transition", "start"):
        case "delete":
            return queued
        case "stop" if build.get("restarts"):
            started = await api.workspace(queued["id"])
            newest = started["latest_build"]
            # Cancelled when the stop was over, it is not started.
            if newest is None or newest["id"] == build["id"]:
                return started
            return await _finish(invocation, api, started, what, wait=wait)
        case "stop":
            return await api.workspace(queued["id"])
    return await _started(invocation, api, queued, wait=wait)


async def _started(invocation: Invocation, api: Api, queued: Workspace, *, wait: str) -> Workspace:
    """Wait for the agent and its scripts, if the template makes an agent."""
    name = queued["name"]
    says = f"{name} goes on without us; kled show {name} tells whether its agent is connected"
    async with saying_what_goes_on(invocation.output, says):
        try:
            with invocation.output.progress(f"waiting for the agent of {name}"):
                found = await api.wait_for_agent(queued["id"], AGENT_TIMEOUT_S)
        except NotFoundError as exc:
            if exc.code != "agent_not_found":
                raise
            return await api.workspace(queued["id"])
        if wait == READY:
            with invocation.output.progress(f"waiting for the scripts of {name}") as meter:
                found = await wait_ready(api, found, meter)
    return found


def announce(
    invocation: Invocation, found: Workspace | None, *, wait: str = READY, stopped: bool = False
) -> None:
    if found is None:
        return  # it was planned
    failed = first_in(found, "start_failed") if wait == READY and not stopped else None
    if invocation.output.as_json:
        invocation.output.json(found)
    elif wait == QUEUED:
        invocation.output.note(f"queued; kled show {found['name']} shows its progress")
    elif failed:
        pass  # said below
    elif not stopped and first_in(found, "starting"):
        name = found["name"]
        invocation.output.note(f"{name} is connected; kled logs -f {name} shows its scripts")
    elif not stopped and agent_status(found) == "connected":
        invocation.output.note(f"{found['name']} is ready; next: kled ssh {found['name']}")
    else:
        nobody = "" if stopped or found["agents"] else "; its template makes no agent to connect to"
        invocation.output.note(f"{found['name']} is {found['status']}{nobody}")
    if failed:
        raise KledError(
            "start_scripts_failed",
            f"{found['name']} runs, but its start failed: {advice_of(failed, found)}",
        )
