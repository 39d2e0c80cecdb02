"""`kled workspace agent-token`: the environment of an agent on a separate host."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kled_client.account.files import write_secret
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.files import output_file_option
from kled_client.cli.names import workspace_argument
from kled_wire.errors import InputError
from kled_wire.names import WorkspaceRef, check_name


@click.command("agent-token")
@workspace_argument
@click.argument("name", default="main")
@output_file_option
@pass_invocation
def agent_token(
    invocation: Invocation, workspace: WorkspaceRef, name: str, output_file: Path | None
) -> None:
    """Show the environment that agent NAME (default: main) of WORKSPACE needs on a separate host.

    Prints two lines in the format of a systemd EnvironmentFile: the coordinator's URL and the
    agent's token. The token is the agent's identity: only the owner of the workspace may read it,
    and each reading is recorded in the audit log.
    """
    if output_file is None and not sys.stdout.isatty():
        raise InputError(
            "output_not_private",
            "the token is printed on a terminal only",
            hint="add --output-file FILE",
        )
    check_name("agent", name)
    found = invocation.call(lambda api: api.agent_token(str(workspace), name))
    url = found["coordinator_url"] or invocation.profile().url
    lines = f"KLED_COORDINATOR_URL={url}\nKLED_AGENT_TOKEN={found['token']}\n"
    if output_file is None:
        sys.stdout.write(lines)
        return
    write_secret(str(output_file), lines.encode())
    invocation.output.outcome(
        {"agent_id": found["agent_id"], "file": str(output_file)},
        f"{output_file} is written, readable by you only",
    )
