"""`kled profile …`: the sign-ins that are kept here."""

from __future__ import annotations

import click

from kled_client.account import profile as profiles
from kled_client.cli.context import Session, pass_session


@click.group()
def profile() -> None:
    """The sign-ins of this machine; kled --profile NAME login URL makes another."""


@profile.command("list")
@pass_session
def list_(session: Session) -> None:
    """List the profiles; the one in use has a star."""
    used = profiles.profile_name(session.env, session.profile_name)
    stored = {name: profiles.stored(session.env, name) for name in profiles.names(session.env)}
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
    session.output.rows(raw, columns, "no profiles; kled login URL makes one")
