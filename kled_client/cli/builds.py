"""`kled builds`: the builds of a workspace."""

from __future__ import annotations

from collections.abc import Sequence

import click

from kled_client.api.client import Api
from kled_client.api.models import Build, BuildStep
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.logs import choose_build
from kled_client.cli.names import workspace_argument
from kled_client.output import Output, ago, duration, span
from kled_wire.names import WorkspaceRef


@click.command()
@workspace_argument
@click.option(
    "--timings",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show how long each step of build N took.",
)
@pass_invocation
def builds(invocation: Invocation, workspace: WorkspaceRef, timings: int | None) -> None:
    """List the builds of a workspace, the newest first.

    --timings shows the wait in the queue, Terraform's stages, what was done to each resource, the
    connection of each agent, and its scripts.
    """
    if timings is not None:
        steps = invocation.call(lambda api: _timings(api, workspace, timings))
        _show_timings(invocation.output, steps)
        return
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
    spare = ("BY", "WAITED", "VERSION", "ERROR", "TOOK")
    invocation.output.rows(found, columns, f"{workspace} has no build", spare=spare)


async def _timings(api: Api, workspace: WorkspaceRef, number: int) -> list[BuildStep]:
    build = choose_build(await api.builds(str(workspace)), number, workspace)
    return await api.build_timings(build["id"])


def _show_timings(output: Output, steps: Sequence[BuildStep]) -> None:
    columns = {
        "STEP": [_step(step) for step in steps],
        "BEGAN": [f"+{duration(step['started_s'])}" for step in steps],
        "TOOK": [_took(step) for step in steps],
    }
    output.rows(steps, columns, "nothing was measured")


def _step(step: BuildStep) -> str:
    """A stage by its name alone; what is done in stages or after them is indented."""
    if step["kind"] in {"queue", "stage"}:
        return step["name"]
    return f"  {step['name']} ({step['kind']} {step['action']})".replace("(resource ", "(")


def _took(step: BuildStep) -> str:
    if step["duration_s"] is None:
        return "goes on"
    return duration(step["duration_s"]) + (", failed" if step["failed"] else "")


def _length(since: str | None, until: str | None) -> str:
    return "-" if not since or not until else span(since, until)


def _first_line(build: Build) -> str:
    return next(iter((build["error"] or "").splitlines()), "")
