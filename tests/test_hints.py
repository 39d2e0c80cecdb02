"""Every `kled …` command that a message, a help text or the documentation names exists."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kled_client.cli.main import cli
from kled_coord.cli import main as coord

ROOT = Path(__file__).parents[1]
PROGRAMS = {"kled": cli, "kled-coord": coord}
# `kled` is also the product, the provider and a word of sentences: `kled login URL` is a command
# where a word follows that could be one, and these do not follow one.
_CALL = re.compile(
    r"(?<![\w./@~-])(?<!-u )(kled|kled-coord) ((?:-{1,2}[a-z-]+[ =][A-Z]+ |-o json )*)"
    r"([a-z][a-z-]+(?: [a-z][a-z-]+)?)"
)
_PROSE = frozenset(
    [
        "is",
        "and",
        "or",
        "in",
        "does",
        "on",
        "has",
        "for",
        "starts",
        "renews",
        "may",
        "of",
        "connects",
        "without",
        "alone",
        "speaks",
        "finds",
        "markers",
        "that",
        "over",
        "ended",
        "runs",
        "renew",
    ]
)


def texts(path: Path) -> Iterator[str]:
    """The string constants of a module, f-strings with their values left out; docstrings too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def named(text: str) -> Iterator[tuple[str, list[str]]]:
    for program, _, words in _CALL.findall(text):
        command = list(itertools.takewhile(lambda word: word not in _PROSE, words.split()))
        if command:
            yield program, command


def unknown(program: str, words: list[str]) -> str | None:
    """The first word that the program does not know as a command."""
    command: click.Command = PROGRAMS[program]
    ctx = click.Context(command, info_name=program)
    for word in words:
        if not isinstance(command, click.Group):
            return None
        found = command.get_command(ctx, word)
        if found is None:
            return word
        command = found
    return None


def sources() -> list[Path]:
    rooms = ("kled_client", "kled_coord", "kled_agent", "kled_wire", "kled_provider")
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def test_commands_in_messages_exist() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {program} {' '.join(words)}"
        for path in sources()
        for text in texts(path)
        for program, words in named(text)
        if unknown(program, words)
    ]
    assert wrong == []


def test_commands_in_the_documentation_exist() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    wrong = [
        f"{page.relative_to(ROOT)}: {program} {' '.join(words)}"
        for page in pages
        for code in re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), re.DOTALL)
        for program, words in named(code)
        if unknown(program, words)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("see kled shwo dev", "shwo"),
        ("kled token create makes one", None),
        ("kled user add", "add"),
    ],
)
def test_a_wrong_command_would_be_found(text: str, word: str | None) -> None:
    assert [unknown(*call) for call in named(text)] == [word]
