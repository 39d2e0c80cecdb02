"""`kled config-ssh`: configures ssh, scp, rsync, git and IDEs to reach workspaces."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kled_client.account import profile
from kled_client.account.certificate import ensure_certificate
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.openssh.block import take_block
from kled_client.openssh.setup import default_path, read_config, with_block, write_config


@click.command("config-ssh")
@click.option("--remove", is_flag=True, help="Remove the block.")
@click.option("--dry-run", is_flag=True, help="Print the resulting file; change nothing.")
@click.option(
    "--ssh-config-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File to change instead of ~/.ssh/config.",
)
@pass_invocation
def config_ssh(
    invocation: Invocation, remove: bool, dry_run: bool, ssh_config_file: Path | None
) -> None:
    """Write a block for *.kled into ~/.ssh/config; the rest of the file is not changed.

    Afterwards `ssh dev.kled` works, and so do scp, rsync, git, VS Code and JetBrains. The
    certificate is renewed automatically, and no host key has to be confirmed.
    """
    path = ssh_config_file or default_path(invocation.env)
    before = read_config(path)
    if remove:
        after = take_block(before)
    else:
        name = profile.profile_name(invocation.env, invocation.profile_name)
        after = with_block(invocation.env, name, before)
    if dry_run:
        sys.stdout.flush()
        sys.stdout.buffer.write(after)
        return
    if not remove:
        # The files the block names must be there; this also says at once when sign-in is missing.
        ensure_certificate(invocation.env, invocation.profile(), invocation.token())
    if after == before:
        invocation.output.note(f"{path} is up to date")
        return
    write_config(path, after)
    invocation.output.note(f"{path} is written" + ("" if remove else "; next: ssh WORKSPACE.kled"))
