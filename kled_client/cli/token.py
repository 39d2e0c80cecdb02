"""`kled token …`: manages API tokens."""

from __future__ import annotations

import re
from typing import Any

import click

from kled_client.api.client import Api
from kled_client.api.models import Token
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import named_by
from kled_client.cli.times import parse_lifetime
from kled_client.output import ago, is_past
from kled_wire.errors import InputError

_TOKEN_ID = re.compile(r"tok_[0-9a-z]+")


async def _living(api: Api) -> list[str]:
    return [t["id"] for t in await api.tokens() if _state(t) == "valid"]


@click.group()
def token() -> None:
    """Manage your API tokens."""


@token.command("list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List your tokens; the secrets are not stored."""
    found = invocation.call(Api.tokens)
    columns = {
        "ID": [t["id"] for t in found],
        "NAME": [t["name"] for t in found],
        "SCOPES": [", ".join(t.get("scopes") or []) or "all" for t in found],
        "CREATED": [ago(t.get("created_at")) for t in found],
        "USED": [ago(t.get("last_used_at")) for t in found],
        "EXPIRES": [ago(t.get("expires_at"), "never") for t in found],
        "STATE": [_state(t) for t in found],
    }
    invocation.output.rows(
        found, columns, "no tokens", spare=("CREATED", "USED", "SCOPES", "EXPIRES")
    )


@token.command()
@click.argument("name")
@click.option("--scope", multiple=True, help="Scope of the token; default: all.")
@click.option("--lifetime", metavar="30d", help="Lifetime: a number and s, m, h or d.")
@pass_invocation
def create(invocation: Invocation, name: str, scope: tuple[str, ...], lifetime: str | None) -> None:
    """Create a token and print it once."""
    body: dict[str, Any] = {"name": name}
    if scope:
        body["scopes"] = list(scope)
    if lifetime is not None:
        body["lifetime_s"] = parse_lifetime(lifetime)
    made = invocation.call(lambda api: api.create_token(body))
    if invocation.output.as_json:
        invocation.output.json(made)
        return
    invocation.output.note("store it safely; it is not shown again:")
    invocation.output.line(str(made["token"]))


@token.command()
@click.argument("token_id", metavar="ID", shell_complete=named_by(_living))
@pass_invocation
def revoke(invocation: Invocation, token_id: str) -> None:
    """Revoke a token at once."""
    if _TOKEN_ID.fullmatch(token_id) is None:
        # Not repeated: it may be a secret pasted by mistake.
        raise InputError(
            "token_id_invalid", "this is not the id of a token", hint="kled token list"
        )
    invocation.call(lambda api: api.revoke_token(token_id))
    invocation.output.note(f"{token_id} is revoked")


def _state(found: Token) -> str:
    if found.get("revoked_at"):
        return "revoked"
    return "expired" if is_past(found.get("expires_at")) else "valid"
