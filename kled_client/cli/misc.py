"""`kled help`, `kled version` and `kled completion`."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import get_completion_class

from kled_client.api import Api
from kled_client.cli.context import Session, pass_session
from kled_wire.errors import KledError, UnauthenticatedError
from kled_wire.version import PROTOCOL, software_version


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of kled or of one of its commands, as `kled COMMAND --help` does."""
    shown = ctx.find_root()
    for word in words:
        if not isinstance(shown.command, click.Group):
            break
        _, command, _ = shown.command.resolve_command(shown, [word])
        assert command is not None  # resolve_command raises where there is none
        shown = click.Context(command, info_name=word, parent=shown)
    click.echo(shown.get_help())


@click.command()
@pass_session
def version(session: Session) -> None:
    """Show the version of kled, and of the coordinator where one can be reached."""
    here = {"version": software_version(), "protocol": PROTOCOL}
    there: dict[str, Any] | None = None
    reason = None
    try:
        there = session.call(Api.version)
    except UnauthenticatedError:
        reason = "not signed in"
    except KledError as exc:
        # The client's own version is the answer; the coordinator's is a courtesy.
        reason = exc.message
    shown = f"{there['version']} (protocol {there['protocol']})" if there else reason
    session.output.record(
        {"client": here, "coordinator": there},
        {"kled": f"{here['version']} (protocol {PROTOCOL})", "coordinator": shown},
    )


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    For bash: kled completion bash >> ~/.bashrc, and the like for zsh and fish.
    """
    found = get_completion_class(shell)
    assert found is not None  # click.Choice lets only the known ones through
    source = found(ctx.find_root().command, {}, "kled", "_KLED_COMPLETE").source()
    click.echo(source)
