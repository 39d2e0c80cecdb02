"""`kled builds`: the builds of a workspace."""

from __future__ import annotations

import click

from kled_client.api.models import Build
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_client.output import ago, span
from kled_wire.names import WorkspaceRef


@click.command()
@workspace_argument
@pass_invocation
def builds(invocation: Invocation, workspace: WorkspaceRef) -> None:
    """List the builds of a workspace, the newest first."""
    found = invocation.call(lambda api: api.builds(str(workspace)))
    columns = {
        "BUILD": [str(build["number"]) for build in found],
        "ACTION": [build["transition"] for build in found],
        "VERSION": [str(build.get("version", "-")) for build in found],
        "STATUS": [build["status"] for build in found],
        "BY": [build["created_by"] for build in found],
        "QUEUED": [ago(build["queued_at"]) for build in found],
        "WAITED": [_length(build["queued_at"], build["started_at"]) for build in found],
        "TOOK": [_length(build["started_at"], build["finished_at"]) for build in found],
        "ERROR": [_first_line(build) for build in found],
    }
    spare = ("BY", "WAITED", "VERSION", "ERROR")
    invocation.output.rows(found, columns, f"{workspace} has no build", spare=spare)


def _length(since: str | None, until: str | None) -> str:
    return "-" if not since or not until else span(since, until)


def _first_line(build: Build) -> str:
    return next(iter((build["error"] or "").splitlines()), "")
