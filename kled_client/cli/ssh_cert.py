"""`kled ssh-cert`: the SSH certificate alone, for programs that read it before they connect."""

from __future__ import annotations

import click

from kled_client.account.certificate import ensure_certificate
from kled_client.cli.context import Invocation, pass_invocation


@click.command("ssh-cert")
@pass_invocation
def ssh_cert(invocation: Invocation) -> None:
    """Renew the SSH certificate if it ends soon, and print its path.

    ssh and kled renew it automatically. The block of kled config-ssh calls this command for
    programs that read the certificate before they start the ProxyCommand.
    """
    identity = ensure_certificate(invocation.env, invocation.profile(), invocation.token())
    output = invocation.output
    if output.as_json:
        output.json({"certificate": identity.certificate, "key": identity.key})
    else:
        output.line(identity.certificate)
