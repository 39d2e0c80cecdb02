"""`kled stream` as the command line knows it: its help. The work is in `stream_fast.py`."""

from __future__ import annotations

import click

from kled_client import stream_fast
from kled_client.cli.context import Session, pass_session


@click.command()
@click.argument("workspace")
@click.option(
    "--kind", default="ssh", show_default=True, help="ssh, or tcp: a port of the workspace."
)
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Of --kind tcp.")
@click.option("--fdpass", is_flag=True, help="Pass the socket to ssh (ProxyUseFdpass) and end.")
@click.option(
    "--resume",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Whether the stream survives its connections; auto: unless the coordinator is here.",
)
@click.option(
    "--direct",
    type=click.Choice(["auto", "never"]),
    default="auto",
    help="Whether such a stream leaves the relay where the agent can be reached.",
)
@click.option("--profile", help="Which stored sign-in to use.")
@pass_session
def stream(
    session: Session,
    workspace: str,
    kind: str,
    port: int | None,
    fdpass: bool,
    resume: str,
    direct: str,
    profile: str | None,
) -> None:
    """Join standard input and output with a byte stream to WORKSPACE.

    ssh calls this for every connection (ProxyCommand; see kled config-ssh). It renews the SSH
    certificate first where that is due.
    """
    request = stream_fast.Request(
        workspace=workspace,
        kind=kind,
        port=port or 0,
        fdpass=fdpass,
        resume=resume,
        direct=direct,
        profile=profile or session.profile_name,
    )
    stream_fast.run(request, session.env)
