"""`kled update`: start a workspace with another version of its template."""

from __future__ import annotations

from typing import Any

import click

from kled_client.api.client import Api
from kled_client.api.models import Workspace
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.lifecycle import (
    announce,
    build_and_wait,
    given_parameters,
    start_body,
    wait_options,
)
from kled_client.cli.names import VersionType, optional_workspace_argument
from kled_client.cli.parameters import parameter_options
from kled_client.cli.plan import plan_option, show_changes
from kled_client.cli.update_all import update_all
from kled_wire.names import WorkspaceRef


@click.command()
@optional_workspace_argument
@click.option(
    "--all", "everything", is_flag=True, help="Update all your workspaces that are behind."
)
@click.option(
    "--version",
    "wanted",
    type=VersionType(),
    metavar="VERSION",
    help="Template version, by number or name; default: the active one.",
)
@parameter_options
@plan_option
@wait_options
@pass_invocation
def update(
    invocation: Invocation,
    /,
    workspace: WorkspaceRef | None,
    everything: bool,
    wanted: int | str | None,
    plan: bool,
    wait: str,
    **options: Any,
) -> int:
    """Update a workspace to the template's active version, or to --version, and start it.

    If that fails, the workspace keeps its version and parameters. --all updates all your
    workspaces that are behind, four at a time, and does not start those that are stopped.
    """
    given = given_parameters(options)
    if everything:
        if workspace or wanted or plan or given:
            raise click.UsageError("--all takes no workspace, version, parameters or --plan.")
        return update_all(invocation)
    if workspace is None:
        raise click.UsageError("Name a workspace, or add --all.")

    async def work(api: Api) -> Workspace | None:
        before = await api.workspace(str(workspace))
        version = await _number_of(api, before["template"], wanted)
        body = await start_body(api, invocation.output, before, version, given)
        body["version"] = version
        if plan:
            show_changes(invocation.output, await api.plan(before["id"], body))
            return None
        what = f"updating to version {version}"
        return await build_and_wait(invocation, api, before, body, what, wait=wait)

    announce(invocation, invocation.call(work), wait=wait)
    return 0


async def _number_of(api: Api, template: str, wanted: int | str | None) -> int:
    """The number of a version, of the active one by default."""
    if isinstance(wanted, int):
        return wanted
    if wanted is not None:
        return (await api.template_version(template, wanted))["number"]
    active: int = (await api.template(template))["active_version"]
    return active
