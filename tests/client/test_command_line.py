"""Help, versions, --output and wrong usage: the parts of the command line that ask nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest

from kled_client.__main__ import guard
from kled_client.cli.context import Invocation
from kled_client.cli.main import cli, run
from kled_client.cli.output_option import is_json_asked
from kled_client.output import Output
from kled_client.report import ErrorFormat
from kled_wire.version import SOFTWARE_VERSION


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(capsys)


class Typed:
    """Runs a command line in this process: exit code, standard output, standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        asked = ErrorFormat()
        code = guard(lambda: run(list(words), asked), asked)
        return code, *self._capsys.readouterr()


@pytest.mark.parametrize("words", [(), ("template",), ("workspace",), ("session",), ("token",)])
def test_where_a_command_is_missing_its_help_is_shown_whole(
    typed: Typed, words: tuple[str, ...]
) -> None:
    code, out, err = typed(*words)
    assert (code, err) == (0, "")
    assert out.startswith(" ".join(["Usage: kled", *words]))
    assert out == typed(*words, "--help")[1]
    assert len(out.splitlines()) > 8


@pytest.mark.parametrize("words", [(), ("list",), ("template", "push"), ("exec",), ("help",)])
def test_help_of_a_command(typed: Typed, words: tuple[str, ...]) -> None:
    code, out, err = typed("help", *words)
    assert (code, err) == (0, "")
    assert out == typed(*words, "--help")[1]


def test_version(typed: Typed) -> None:
    assert typed("--version") == (0, f"kled {SOFTWARE_VERSION}\n", "")


@pytest.mark.parametrize(
    ("words", "nearest"),
    [(("lst",), "list"), (("help", "shwo"), "show"), (("template", "pusch"), "push")],
)
def test_a_mistyped_command_is_told_the_nearest_one(
    typed: Typed, words: tuple[str, ...], nearest: str
) -> None:
    code, _, err = typed(*words)
    assert code == 2
    assert f"Did you mean '{nearest}'?" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "json", "lst"),
        ("lst", "--output=json"),
        ("show", "-ojson"),
        ("list", "--nope", "-o", "json"),
        ("--nope", "--output", "json"),
        ("template", "push", "-o", "json"),
    ],
)
def test_wrong_usage_is_json_where_that_is_asked_for(typed: Typed, words: tuple[str, ...]) -> None:
    code, out, err = typed(*words)
    assert (code, out) == (2, "")
    assert json.loads(err)["error"]["code"] == "usage"


@pytest.mark.parametrize(
    "line",
    [
        "resolve s f", "resolve s f --alpha --beta", "resolve s ../f --alpha", "undo s a/../b",
        "history s ../f",
    ],
)  # fmt: skip
def test_a_path_of_a_sync_lies_in_it_and_one_side_wins(typed: Typed, line: str) -> None:
    code, out, err = typed("sync", *line.split(), "-o", "json")
    assert (code, out) == (2, "")
    assert json.loads(err)["error"]["code"] == "usage"


@pytest.mark.parametrize(
    ("line", "is_asked"),
    [
        ("exec dev ls -o json", False),
        ("ssh dev -- ls -o json", False),
        ("-o json exec dev ls", True),
        ("cp -- -o json", False),
        ("list -o table", False),
    ],
)
def test_a_programs_own_output_option_is_not_ours(line: str, *, is_asked: bool) -> None:
    assert is_json_asked(line.split()) is is_asked


def leaves(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield ctx.command_path, command
        return
    for name in command.list_commands(ctx):
        inner = command.get_command(ctx, name)
        assert inner is not None
        yield from leaves(inner, click.Context(inner, info_name=name, parent=ctx))


COMMANDS = dict(leaves(cli, click.Context(cli, info_name="kled")))


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_takes_output_after_it_too(path: str) -> None:
    command = COMMANDS[path]
    if command.context_settings.get("ignore_unknown_options"):
        return  # what stands there is the program's
    (option,) = (param for param in command.params if "--output" in param.opts)
    invocation = Invocation(env={}, profile_name=None, output=Output(), verbose=False)
    with click.Context(command, obj=invocation) as ctx:
        option.process_value(ctx, "json")
        assert ctx.obj.output.as_json
