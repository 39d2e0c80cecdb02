"""`kled cancel`: cancel a queued or running build."""

from __future__ import annotations

from typing import Any

import click

from kled_client.api.build_log import read_log
from kled_client.api.client import Api
from kled_client.api.models import Build
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_wire.errors import ConflictError
from kled_wire.names import WorkspaceRef


@click.command()
@workspace_argument
@click.option("--force", is_flag=True, help="Kill Terraform; the state that it has saved is kept.")
@click.option("--no-wait", is_flag=True, help="Return without waiting for the build to end.")
@pass_invocation
def cancel(invocation: Invocation, workspace: WorkspaceRef, force: bool, no_wait: bool) -> None:
    """Cancel the queued or running build of WORKSPACE and wait until it has ended.

    Terraform finishes its current operation and saves its state; the next start, stop or delete
    completes the rest. --force kills Terraform, also when a cancellation is already under way.
    """

    async def work(api: Api) -> Build:
        found = await api.workspace(str(workspace))
        build = found["latest_build"]
        if build is None:
            raise ConflictError("build_not_active", f"{workspace} has no build")
        await api.cancel_build(build["id"], force=force)
        if not no_wait:
            with invocation.output.progress(f"cancelling the {build['transition']} of {workspace}"):
                await read_log(api, build["id"], _ignore)
        return await api.build(build["id"])

    build = invocation.call(work)
    invocation.output.outcome(
        build, f"the {build['transition']} of {workspace} is {build['status']}"
    )


def _ignore(_item: dict[str, Any]) -> None:
    """Only the end of the log matters."""
