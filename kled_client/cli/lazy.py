"""A click group that imports a command only when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from kled_client.cli.output_option import add_output_option


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEntry:
    """Where a command is (`module:attribute`), its line in the help, and under which heading."""

    target: str
    help: str
    section: str


class LazyGroup(click.Group):
    """Lists its entries without importing them."""

    def __init__(self, *args: Any, entries: Mapping[str, CommandEntry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self._entries)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        cmd_name: str,
    ) -> click.Command | None:
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        add_output_option(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, which would suggest only commands that are imported already."""
        if args[0] in self._entries or args[0].startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        raise click.NoSuchCommand(args[0], possibilities=self._entries, ctx=ctx)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """One list for each section, in the order of the entries."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self._entries.items():
            sections.setdefault(entry.section, []).append((name, entry.help))
        width = max(map(len, self._entries), default=0)
        for section, lines in sections.items():
            with formatter.section(section):
                formatter.write_dl([(f"{name:<{width}}", text) for name, text in lines])
