"""`kled version`."""

from __future__ import annotations

from typing import Any

import click

from kled_client.api.client import Api
from kled_client.cli.context import Invocation, pass_invocation
from kled_wire.errors import KledError, UnauthenticatedError
from kled_wire.version import PROTOCOL, SOFTWARE_VERSION


@click.command()
@pass_invocation
def version(invocation: Invocation) -> None:
    """Show the version of kled, and of the coordinator if it can be reached."""
    here = {"version": SOFTWARE_VERSION, "protocol": PROTOCOL}
    there: dict[str, Any] | None = None
    reason = None
    try:
        there = invocation.call(Api.version)
    except UnauthenticatedError:
        reason = "not signed in"
    except KledError as exc:
        # The client's own version is the answer; the coordinator's is a courtesy.
        reason = exc.message
    shown = f"{there['version']} (protocol {there['protocol']})" if there else reason
    invocation.output.record(
        {"client": here, "coordinator": there},
        {"kled": f"{here['version']} (protocol {PROTOCOL})", "coordinator": shown},
    )
