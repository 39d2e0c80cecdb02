"""`kled help` and `kled version`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from kled_client.api.client import Api
from kled_client.cli.context import Session, pass_session
from kled_wire.errors import KledError, UnauthenticatedError
from kled_wire.version import PROTOCOL, software_version


def _complete_command(
    ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    try:
        shown = _context_of(ctx, ctx.params.get("words") or ())
    except click.UsageError:
        return []
    if not isinstance(shown.command, click.Group):
        return []
    names = shown.command.list_commands(shown)
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...", shell_complete=_complete_command)
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of kled or of one of its commands, as `kled COMMAND --help` does."""
    click.echo(_context_of(ctx, words).get_help())


def _context_of(ctx: click.Context, words: Sequence[str]) -> click.Context:
    """The command that the words lead to. Raises UsageError."""
    shown = ctx.find_root()
    for word in words:
        if not isinstance(shown.command, click.Group):
            break
        _, command, _ = shown.command.resolve_command(shown, [word])
        if command is None:  # while completing, click does not raise
            raise click.UsageError(f"No such command {word!r}.", ctx=shown)
        shown = click.Context(command, info_name=word, parent=shown)
    return shown


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
