"""`kled user …`: users, for administrators."""

from __future__ import annotations

from typing import Any

import click

from kled_client.api.client import Api
from kled_client.api.models import User
from kled_client.cli.confirming import confirm_deletion
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.files import read_line
from kled_client.cli.limit import LimitType
from kled_client.cli.names import complete_user
from kled_client.output import ago
from kled_wire.errors import InputError
from kled_wire.names import check_name

_ROLES = click.Choice(["owner", "admin", "template-admin", "member", "auditor"])


@click.group()
def user() -> None:
    """Manage users."""


@user.command("list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the users."""
    found = invocation.call(Api.users)
    columns = {
        "NAME": [u["name"] for u in found],
        "ROLE": [u["role"] for u in found],
        "EMAIL": [u.get("email") or "" for u in found],
        "SEEN": [ago(u.get("last_seen_at")) for u in found],
        "STATE": ["suspended" if u.get("suspended") else "active" for u in found],
    }
    invocation.output.rows(found, columns, "no users", spare=("EMAIL", "SEEN", "ROLE"))


@user.command()
@click.argument("name")
@click.option("--role", type=_ROLES, default="member", show_default=True)
@click.option("--email")
@click.option("--password-stdin", is_flag=True, help="Read a password from standard input.")
@pass_invocation
def create(
    invocation: Invocation, name: str, role: str, email: str | None, password_stdin: bool
) -> None:
    """Create a user; without a password, print the one-time code for the first login."""
    body = {"name": check_name("user", name), "role": role}
    if email:
        body["email"] = email
    if password_stdin:
        body["password"] = read_line()
    made = invocation.call(lambda api: api.create_user(body))
    if invocation.output.as_json:
        invocation.output.json(made)
        return
    invocation.output.note(f"{name} is created")
    if made.get("login_code"):
        invocation.output.note("the first sign-in needs this one-time code (kled login):")
        invocation.output.line(str(made["login_code"]))


@user.command()
@click.argument("name", shell_complete=complete_user)
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Show one user."""
    check_name("user", name)
    _show(invocation, invocation.call(lambda api: api.user(name)))


@user.command()
@click.argument("name", shell_complete=complete_user)
@click.option("--role", type=_ROLES)
@click.option("--email")
@click.option(
    "--max-workspaces",
    type=LimitType(),
    metavar="N",
    help="Limit on workspaces: N, 0 for none, or `default`.",
)
@click.option(
    "--max-waiting-builds",
    type=LimitType(),
    metavar="N",
    help="Limit on queued builds: N, 0 for none, or `default`.",
)
@click.option(
    "--suspend/--resume",
    "suspended",
    default=None,
    help="Suspend the user, or lift the suspension.",
)
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the new password from standard input; for your own, the old one on the first line.",
)
@pass_invocation
def update(
    invocation: Invocation,
    name: str,
    role: str | None,
    email: str | None,
    suspended: bool | None,
    max_workspaces: int | str | None,
    max_waiting_builds: int | str | None,
    password_stdin: bool,
) -> None:
    """Change a user."""
    check_name("user", name)
    wanted = {
        "role": role,
        "email": email,
        "suspended": suspended,
        "max_workspaces": max_workspaces,
        "max_waiting_builds": max_waiting_builds,
    }
    body: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
    if password_stdin:
        if name == invocation.profile().user:
            body["old_password"] = read_line()
        body["password"] = read_line()
    if not body:
        raise InputError("usage", "nothing to change", hint="kled user update --help")
    _show(invocation, invocation.call(lambda api: api.update_user(name, body)))


@user.command("end-streams")
@click.argument("name", shell_complete=complete_user)
@pass_invocation
def end_streams(invocation: Invocation, name: str) -> None:
    """End all open streams and followed logs of a user at once.

    This includes streams on direct paths and streams that wait for their client. New ones may be
    opened; to prevent that, use `update --suspend` or `kled token revoke`.
    """
    check_name("user", name)
    invocation.call(lambda api: api.end_streams(name))
    invocation.output.note(f"all streams of {name} are ended")


@user.command()
@click.argument("name", shell_complete=complete_user)
@click.option("--yes", "-y", is_flag=True, help="Delete without asking.")
@pass_invocation
def delete(invocation: Invocation, name: str, yes: bool) -> None:
    """Delete a user."""
    check_name("user", name)
    confirm_deletion(name, f"Delete the user {name}?", yes=yes)
    invocation.call(lambda api: api.delete_user(name))
    invocation.output.note(f"{name} is deleted")


def password_origin(found: User) -> str | None:
    """When a user's password was set, and by whom."""
    if not found.get("password_set_at"):
        return None
    by = found.get("password_set_by")
    return f"set {ago(found['password_set_at'])}" + (f" by {by}" if by else "")


def code_use(found: User) -> str:
    """When somebody signed in by a one-time code, which another may have made."""
    used = found.get("code_used_at")
    return f"used {ago(used)}" if used else "never used"


def _limit(own: int | None) -> str | None:
    """A user's own limit; None where the coordinator's counts."""
    if own is None:
        return None
    return f"at most {own}" if own else "no limit"


def _show(invocation: Invocation, found: User) -> None:
    invocation.output.record(
        found,
        {
            "name": found["name"],
            "role": found["role"],
            "email": found.get("email"),
            "state": "suspended" if found.get("suspended") else "active",
            "created": ago(found.get("created_at")),
            "seen": ago(found.get("last_seen_at")),
            "password": password_origin(found),
            "one-time code": code_use(found),
            "workspaces": _limit(found.get("max_workspaces")),
            "waiting builds": _limit(found.get("max_waiting_builds")),
        },
    )
