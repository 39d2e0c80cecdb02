"""`kled known-hosts`: prints the plain host key, for clients without certificate support."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_client.terminal.interrupt import run
from kled_wire.errors import InputError
from kled_wire.names import SSH_SUFFIX, WorkspaceRef

_SSH_PORT = 22


@click.command("known-hosts")
@workspace_argument
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Host name that the client uses, e.g. 127.0.0.1:2222; default: WORKSPACE.kled.",
)
@pass_invocation
def known_hosts(invocation: Invocation, workspace: WorkspaceRef, hosts: tuple[str, ...]) -> int:
    """Print WORKSPACE's host key as a known_hosts line, for clients without certificate support.

    kled connects and verifies the key with the coordinator's host certificate before printing it.
    The key changes when the agent loses its state directory; then print it again.
    """
    names = [pattern(host) for host in hosts] or [f"{workspace}.{SSH_SUFFIX}"]
    return run(partial(_show, invocation, workspace, names))


async def _show(invocation: Invocation, ref: WorkspaceRef, names: list[str]) -> None:
    async with invocation.ssh(ref) as connection:
        key = connection.get_server_host_key()
    assert key is not None, "a connection that is up has checked a host key"
    fingerprint = key.get_fingerprint()
    kind, data = key.export_public_key("openssh").decode("ascii").split()[:2]
    raw: dict[str, Any] = {"hosts": names, "key": f"{kind} {data}", "fingerprint": fingerprint}
    if invocation.output.as_json:
        invocation.output.json(raw)
        return
    invocation.output.line(f"{','.join(names)} {kind} {data}")
    invocation.output.note(f"verified the host key of {ref}: {fingerprint}")


def pattern(host: str) -> str:
    """As known_hosts names it (sshd(8)): `[127.0.0.1]:2222`. Raises InputError("usage")."""
    name, colon, port = host.rpartition(":")
    if not colon or (":" in name and not name.endswith("]")):
        name, port = host, str(_SSH_PORT)
    name = name.removeprefix("[").removesuffix("]")
    good = port.isascii() and port.isdecimal() and 0 < int(port) < 65536
    if not name or not good or not name.isprintable() or set(name) & set(" ,*?!#@|[]"):
        raise InputError("usage", f"{host!r} is not a host, or a host and a port")
    return name if int(port) == _SSH_PORT else f"[{name}]:{port}"
