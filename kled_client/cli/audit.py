"""`kled audit` and `kled connections`: who did what, and who was connected to what."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from kled_client.api.models import Connection
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import RefType, complete_user, complete_workspace
from kled_client.cli.option_group import option_group
from kled_client.cli.times import MomentType, local
from kled_client.forward.view import amount

_MOST = 1000


# The filters that both logs have.
_span_options = option_group(
    click.option(
        "--user", metavar="NAME", shell_complete=complete_user, help="Show only this user."
    ),
    click.option(
        "--since", type=MomentType(), metavar="TIME", help="Begin at TIME: 2h, 14:32 or RFC 3339."
    ),
    click.option("--until", type=MomentType(), metavar="TIME", help="End before TIME."),
    click.option(
        "--limit",
        type=click.IntRange(1, _MOST),
        metavar="N",
        default=100,
        show_default=True,
        help="Show at most N rows.",
    ),
)


@click.command()
@_span_options
@click.option("--action", metavar="ACTION", help="Show only actions that begin with ACTION.")
@click.option("--resource", metavar="TEXT", help="Show only resources that contain TEXT.")
@click.option("--refused/--allowed", default=None, help="Show only refused or allowed actions.")
@pass_invocation
def audit(invocation: Invocation, /, *, refused: bool | None, **options: Any) -> None:
    """Show the audit log, the newest first; for auditors and administrators."""
    filters = _filters(options, allowed=None if refused is None else not refused)
    found = invocation.call(lambda api: api.audit(filters))
    columns = {
        "WHEN": [_when(row["at"]) for row in found],
        "USER": [row["user_name"] or "-" for row in found],
        "ACTION": [row["action"] for row in found],
        "RESOURCE": [row["resource"] for row in found],
        "": ["" if row["allowed"] else "refused" for row in found],
        "DETAIL": [row["detail"] for row in found],
    }
    invocation.output.rows(found, columns, "nothing that fits", spare=("DETAIL",))


@click.command()
@_span_options
@click.option(
    "--workspace",
    type=RefType(),
    metavar="WS",
    shell_complete=complete_workspace,
    help="Show only those to WS; without an owner, to every workspace of that name.",
)
@click.option("--kind", type=click.Choice(["ssh", "tcp"]), help="Show only this kind.")
@click.option(
    "--open/--closed", "is_open", default=None, help="Show only open or closed connections."
)
@pass_invocation
def connections(invocation: Invocation, /, *, is_open: bool | None, **options: Any) -> None:
    """Show the connections to workspaces, the newest first; all of them to auditors."""
    filters = _filters(options, open=is_open)
    found = invocation.call(lambda api: api.connections(filters))
    columns = {
        "OPENED": [_when(row["opened_at"]) for row in found],
        "LASTED": [_lasted(row) for row in found],
        "USER": [row["user_name"] or "-" for row in found],
        "WORKSPACE": [f"{row['owner'] or '-'}/{row['workspace'] or '-'}" for row in found],
        "KIND": [row["kind"] for row in found],
        "FROM": [row["client_address"] for row in found],
        "IN": [amount(row["bytes_to_agent"]) for row in found],
        "OUT": [amount(row["bytes_to_client"]) for row in found],
        "END": ["open" if row["closed_at"] is None else row["reason"] or "-" for row in found],
    }
    spare = ("IN", "OUT", "FROM", "KIND", "LASTED", "USER")
    invocation.output.rows(found, columns, "no connection that fits", spare=spare)


def _filters(options: Mapping[str, Any], **flags: bool | None) -> dict[str, str]:
    told = {name: str(value) for name, value in options.items() if value is not None}
    return told | {name: str(is_so).lower() for name, is_so in flags.items() if is_so is not None}


def _when(moment: str) -> str:
    return local(datetime.fromisoformat(moment).timestamp(), "%Y-%m-%d %H:%M:%S")


def _lasted(row: Connection) -> str:
    if row["closed_at"] is None:
        return "-"
    opened, closed = map(datetime.fromisoformat, (row["opened_at"], row["closed_at"]))
    seconds = int((closed - opened).total_seconds())
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
