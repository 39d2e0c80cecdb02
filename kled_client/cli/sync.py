"""`kled sync`: folders that are the same here and in a workspace."""

from __future__ import annotations

import click

from kled_client.cli.sync_copy import pull, push


@click.group()
def sync() -> None:
    """Copy a folder once, or keep it the same here and in a workspace."""


for _command in (push, pull):
    sync.add_command(_command)
