"""`kled key …`: registers public keys for SSH clients without certificate support."""

from __future__ import annotations

import re
from typing import IO, Any

import click

from kled_client.api.client import Api
from kled_client.api.models import RegisteredKey
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import RefType, named_by
from kled_client.cli.times import parse_lifetime
from kled_client.output import ago, is_past
from kled_wire.errors import InputError
from kled_wire.names import WorkspaceRef

_KEY_ID = re.compile(r"key_[0-9a-z]+")
_LINE_MAX = 16 * 1024


async def _ids(api: Api) -> list[str]:
    return [k["id"] for k in await api.keys()]


@click.group()
def key() -> None:
    """Register public keys for SSH clients without certificate support.

    A registered key works only inside a stream that you opened with kled stream. OpenSSH needs no
    registered key: see kled config-ssh.
    """


@key.command()
@click.argument("file", type=click.File("r", encoding="utf-8", errors="replace"))
@click.option("--name", help="Name of the key; default: its comment.")
@click.option(
    "--workspace", type=RefType(), metavar="WORKSPACE", help="Limit the key to this workspace."
)
@click.option("--lifetime", metavar="90d", help="Lifetime: a number and s, m, h or d.")
@pass_invocation
def add(
    invocation: Invocation,
    file: IO[str],
    name: str | None,
    workspace: WorkspaceRef | None,
    lifetime: str | None,
) -> None:
    """Register the public key in FILE (- reads standard input), for 90 days.

    You must have signed in (kled login) within the last ten minutes.
    """
    body: dict[str, Any] = {"public_key": _read(file)}
    if name:
        body["name"] = name
    if workspace is not None:
        body["workspace"] = str(workspace)
    if lifetime is not None:
        body["lifetime_s"] = parse_lifetime(lifetime)
    made = invocation.call(lambda api: api.add_key(body))
    where = made["workspace"] or "all of your workspaces"
    good = f"{made['id']} ({made['name']}) is good for {where}"
    invocation.output.outcome(made, good, *_unanswered(made, "do not know it yet"))


@key.command("list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List your registered keys."""
    found = invocation.call(Api.keys)
    columns = {
        "ID": [k["id"] for k in found],
        "NAME": [k["name"] for k in found],
        "WORKSPACE": [k["workspace"] or "all" for k in found],
        "USED": [ago(k["last_used_at"]) for k in found],
        "EXPIRES": [_end(k) for k in found],
        "KIND": [k["public_key"].partition(" ")[0] for k in found],
        "FINGERPRINT": [k["fingerprint"] for k in found],
    }
    invocation.output.rows(
        found, columns, "no keys", spare=("KIND", "USED", "FINGERPRINT", "EXPIRES")
    )


@key.command()
@click.argument("key_id", metavar="ID", shell_complete=named_by(_ids))
@pass_invocation
def remove(invocation: Invocation, key_id: str) -> None:
    """Remove a key. New connections with it are refused; open ones continue."""
    if _KEY_ID.fullmatch(key_id) is None:
        raise InputError("key_id_invalid", "this is not the id of a key", hint="kled key list")
    removed = invocation.call(lambda api: api.remove_key(key_id))
    unheard = _unanswered(removed, "have not answered and may let it in for ten minutes more")
    invocation.output.outcome(removed, f"{key_id} is removed", *unheard)


def _end(found: RegisteredKey) -> str:
    return "expired" if is_past(found["expires_at"]) else ago(found["expires_at"])


def _read(file: IO[str]) -> str:
    text = file.read(_LINE_MAX + 1)
    if "PRIVATE KEY" in text:
        # A private key must not leave this machine, not even to be refused.
        raise InputError(
            "public_key_invalid",
            f"{file.name} is a private key",
            hint=f"give the public one, usually {file.name}.pub",
        )
    return text.strip()


def _unanswered(changed: RegisteredKey, what: str) -> list[str]:
    unanswered = changed.get("unanswered")
    if not unanswered:
        return []
    names = "some workspaces" if unanswered == ["*"] else ", ".join(unanswered)
    return [f"the agents of these {what}: {names}"]
