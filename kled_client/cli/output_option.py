"""`--output`, before the command or as an option of each command that lacks one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, takewhile

import click

from kled_client.cli.context import Invocation
from kled_client.output import Output
from kled_client.report import ErrorFormat

FLAGS = ("--output", "-o")
FORMATS = click.Choice(["table", "json"])
HELP = "Output format."
_ENDS = ("--", "ssh", "exec")


def is_json_asked(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, also one that cannot be parsed.

    What follows `--` or a command that takes a program's arguments does not count.
    """
    words = list(takewhile(lambda word: word not in _ENDS, arguments))
    long, short = FLAGS
    pairs = pairwise(words)
    return (
        any(flag in FLAGS and value == "json" for flag, value in pairs)
        or f"{long}=json" in words
        or f"{short}json" in words
    )


def add_output_option(command: click.Command) -> None:
    """Let the command, or each command of a group, take `--output` too.

    Not one that gives its arguments to a program: what stands there is the program's.
    """
    if isinstance(command, click.Group):
        for each in command.commands.values():
            add_output_option(each)
        return
    taken = {flag for param in command.params for flag in param.opts}
    free = [flag for flag in FLAGS if flag not in taken]
    if FLAGS[0] in taken or command.context_settings.get("ignore_unknown_options"):
        return
    option = click.Option(
        free, type=FORMATS, help=HELP, expose_value=False, callback=_use, metavar="[table|json]"
    )
    command.params.append(option)


def _use(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    invocation = ctx.find_object(Invocation)
    if value is None or invocation is None:
        return
    as_json = value == "json"
    ctx.obj = replace(invocation, output=Output(as_json=as_json))
    asked = ctx.find_root().meta.get(__name__)
    if isinstance(asked, ErrorFormat):
        asked.as_json = as_json


def remember_asked(ctx: click.Context, asked: ErrorFormat) -> None:
    """Let `--output` after the command say how errors are printed, too."""
    ctx.meta[__name__] = asked
