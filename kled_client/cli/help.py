"""`kled help`."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem


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
    """Show the help of kled or of a command; the same as `kled COMMAND --help`."""
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
