"""`kled profile …`: the stored profiles, one for each sign-in."""

from __future__ import annotations

import click

from kled_client.account import profile as profiles
from kled_client.cli.context import Invocation, pass_invocation


@click.group()
def profile() -> None:
    """Manage profiles; kled --profile NAME login URL creates one."""


@profile.command("list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the profiles; a star marks the one in use."""
    used = profiles.profile_name(invocation.env, invocation.profile_name)
    stored = {
        name: profiles.stored(invocation.env, name) for name in profiles.names(invocation.env)
    }
    raw = [
        {"name": name, "url": found.url, "user": found.user or None, "in_use": name == used}
        for name, found in stored.items()
    ]
    columns = {
        "": ["*" if name == used else "" for name in stored],
        "NAME": list(stored),
        "USER": [found.user or "-" for found in stored.values()],
        "URL": [found.url for found in stored.values()],
    }
    invocation.output.rows(raw, columns, "no profiles; kled login URL makes one")
