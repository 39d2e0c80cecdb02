"""`kled open vscode`: opens a local editor on a workspace."""

from __future__ import annotations

import shutil
import subprocess
from urllib.parse import quote

import click

from kled_client.account import profile
from kled_client.account.certificate import ensure_certificate
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_client.openssh.block import has_block
from kled_client.openssh.setup import default_path, install, read_config
from kled_wire.errors import KledError
from kled_wire.names import SSH_SUFFIX, WorkspaceRef


@click.group("open")
def open_() -> None:
    """Open an editor in a workspace."""


@open_.command()
@workspace_argument
@click.argument("path", required=False)
@pass_invocation
def vscode(invocation: Invocation, workspace: WorkspaceRef, path: str | None) -> None:
    """Open VS Code with Remote-SSH, in PATH (absolute) if given.

    Writes the ssh configuration first if it is missing. Without a `code` command it prints the
    URI to open.
    """
    invocation.call(
        lambda api: api.workspace(str(workspace))
    )  # one that is not there opens nothing
    config = default_path(invocation.env)
    if not has_block(read_config(config)):
        name = profile.profile_name(invocation.env, invocation.profile_name)
        install(invocation.env, name, config)
        invocation.output.note(f"{config} is written")
    ensure_certificate(invocation.env, invocation.profile(), invocation.token())
    remote = f"ssh-remote+{workspace}.{SSH_SUFFIX}"
    program = shutil.which("code", path=invocation.env.get("PATH"))
    if program is None:
        folder = quote("/" + (path or "").lstrip("/"))
        invocation.output.line(f"vscode://vscode-remote/{remote}{folder}")
        return
    _launch([program, "--remote", remote, *([path] if path else [])])


def _launch(command: list[str]) -> None:
    try:
        status = subprocess.run(command, check=False).returncode
    except OSError as exc:
        raise KledError("editor_failed", f"cannot start {command[0]}: {exc.strerror}") from exc
    if status:
        raise KledError("editor_failed", f"{command[0]} ended with status {status}")
