"""`kled state versions|pull|push`: the versions of a workspace's Terraform state."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kled_client.account.files import write_secret
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.files import output_file_option, read_file
from kled_client.cli.names import workspace_argument
from kled_client.output import ago, file_size
from kled_wire.names import WorkspaceRef


@click.group()
def state() -> None:
    """List the versions of a workspace's state; admins can also pull and push them."""


@state.command()
@workspace_argument
@pass_invocation
def versions(invocation: Invocation, workspace: WorkspaceRef) -> None:
    """List the versions of a workspace's state that are kept, the newest first."""
    found = invocation.call(lambda api: api.states(str(workspace)))
    columns = {
        "VERSION": [str(each["version"]) for each in found],
        "WRITTEN": [ago(each["created_at"]) for each in found],
        "BUILD": ["pushed" if each["is_pushed"] else str(each["build"] or "-") for each in found],
        "BY": [each["created_by"] or "-" for each in found],
        "SIZE": [_size(each["size_bytes"]) for each in found],
    }
    invocation.output.rows(found, columns, f"{workspace} has no state", spare=("SIZE", "BY"))


@state.command()
@workspace_argument
@click.option(
    "--version",
    type=click.IntRange(min=1),
    metavar="N",
    help="Version of the state; default: the newest.",
)
@output_file_option
@pass_invocation
def pull(
    invocation: Invocation, workspace: WorkspaceRef, version: int | None, output_file: Path | None
) -> None:
    """Print a workspace's state as Terraform wrote it; for admins.

    The state contains every secret of the workspace in clear text. Each pull is recorded in the
    audit log.
    """
    content = invocation.call(lambda api: api.pull_state(str(workspace), version))
    if output_file is None:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    write_secret(str(output_file), content)
    invocation.output.note(f"{output_file} is written, readable by you only")


@state.command()
@workspace_argument
@click.argument("file", metavar="FILE", type=click.Path(allow_dash=True))
@pass_invocation
def push(invocation: Invocation, workspace: WorkspaceRef, file: str) -> None:
    """Make FILE (- for standard input) the newest version of a workspace's state; for admins.

    The state decides what the next build changes and what a delete destroys. FILE must have the
    lineage of the stored state and a higher serial; no build may run. Each push is recorded in the
    audit log. kled start WS --plan shows what the new state leads to.
    """
    content = read_file(file)
    pushed = invocation.call(lambda api: api.push_state(str(workspace), content))
    told = f"it is version {pushed['version']} of the state of {workspace}"
    invocation.output.outcome(pushed, f"{told}; next: kled start {workspace} --plan")


def _size(size: int | None) -> str:
    return "deleted" if size is None else file_size(size)
