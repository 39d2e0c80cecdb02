"""`-p NAME=VALUE`, `NAME=@FILE`, `NAME`, and files of them: values of a template's parameters."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from kled_client.api.client import Api
from kled_client.api.models import ParameterForm, Variable, Version
from kled_client.cli.option_group import option_group
from kled_client.cli.questions import ask_parameters, no_terminal
from kled_client.output import Output
from kled_wire.errors import InputError
from kled_wire.text import printable

_STDIN = "-"
parameter_options = option_group(
    click.option(
        "--param",
        "-p",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="Template parameter; NAME=@FILE reads a file (@- standard input), NAME alone prompts.",
    ),
    click.option(
        "--param-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Parameters by name, in TOML or JSON; -p overrides it.",
    ),
    click.option("--preset", metavar="NAME", help="A preset of the template; -p overrides it."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenParameters:
    """What the command line says of parameters."""

    words: Sequence[str]
    file: Path | None = None
    preset: str | None = None
    copy_from: str | None = None
    take_defaults: bool = False

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return bool(self.words or self.file or self.preset or self.copy_from)

    def values(self) -> dict[str, str | None]:
        """Those of the file, replaced by those of the words; None: to be asked for.

        Raises InputError.
        """
        from_file = {} if self.file is None else load_parameters(self.file)
        return {**from_file, **parse_parameters(self.words)}

    def body(self) -> dict[str, Any]:
        """What the coordinator itself makes values of."""
        said = {"preset": self.preset, "copy_from": self.copy_from}
        return {name: value for name, value in said.items() if value is not None}


def parse_parameters(words: Sequence[str]) -> dict[str, str | None]:
    """Read the words; None: to be asked for. A value that begins with @ is written @@.

    Raises InputError("parameter_malformed", "parameter_unreadable").
    """
    parameters: dict[str, str | None] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise InputError(
                "parameter_malformed", f"{word!r} is not a parameter", hint="-p NAME=VALUE"
            )
        if value.startswith("@"):
            value = value[1:] if value.startswith("@@") else _read(name, value[1:])
        parameters[name] = value if equals else None
    return parameters


def load_parameters(file: Path) -> dict[str, str]:
    """The parameters of a file; numbers, bools and lists become what the template gets as text.

    Raises InputError("parameter_file_invalid").
    """
    try:
        text = file.read_text("utf-8")
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise _file_invalid(file, str(why)) from error
    if not isinstance(found, dict):
        raise _file_invalid(file, "it is not an object of values by name")
    for name, value in found.items():
        if not isinstance(value, str | int | float | list):
            raise _file_invalid(file, f"{name!r} is not a string, number, bool or list")
    return {name: _text(value) for name, value in found.items()}


def _text(value: str | float | list[Any]) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _file_invalid(file: Path, why: str) -> InputError:
    return InputError(
        "parameter_file_invalid",
        f"cannot read parameters from {file}: {why}",
        hint='NAME = "VALUE" a line (TOML); a file in JSON is called .json',
    )


async def choose_parameters(
    api: Api,
    output: Output,
    given: GivenParameters,
    *,
    template: str,
    version: object,
    kept: Mapping[str, str | None],
    workspace: str | None = None,
) -> dict[str, str]:
    """The values that are given and, at a terminal, what is asked for.

    `version` is a version's number, None for the active one; `workspace` is one that is there, and
    has what is `kept`. Raises InputError.
    """
    words = given.values()
    is_terminal = sys.stdin.isatty()
    if not words and not is_terminal:
        return {}  # a script: what is missing, the coordinator says
    chosen = {name: value for name, value in words.items() if value is not None}
    wanted = [name for name in words if name not in chosen]
    if wanted and not is_terminal:
        raise no_terminal(wanted[0])
    pushed = await _find_version(api, template, version)
    variables = _open_variables(pushed)
    _warn_of_arguments(output, given.words, variables)
    needed = () if given.copy_from or not is_terminal else _required(variables, kept)
    for variable in variables:
        name = variable["name"]
        if name not in chosen and (name in wanted or name in needed):
            chosen[name] = _ask(variable)
    # The coordinator knows why there is no such parameter.
    left = [name for name in wanted if name not in chosen]
    if is_terminal and not (pushed and pushed.get("parameters") == []):

        async def evaluate(answers: Mapping[str, str]) -> ParameterForm:
            number = pushed["number"] if pushed else None
            body = {"version": number, "parameters": dict(answers), **given.body()}
            return await api.evaluate(template, workspace, body)

        only_needed = given.take_defaults or bool(given.body())
        chosen = await ask_parameters(
            evaluate, output, chosen, wanted=left, kept=kept, only_needed=only_needed
        )
    return {**dict.fromkeys(left, ""), **chosen}


def _open_variables(version: Version | None) -> list[Variable]:
    """The variables that the owner of a workspace may give a value."""
    found = version.get("variables") if version else None
    return [variable for variable in found or [] if not variable.get("is_fixed")]


def _required(variables: Sequence[Variable], kept: Mapping[str, str | None]) -> list[str]:
    return [v["name"] for v in variables if v["required"] and v["name"] not in kept]


async def _find_version(api: Api, template: str, version: object) -> Version | None:
    found = await api.template(template)
    wanted = found["active_version"] if version is None else version
    return next((v for v in found.get("versions") or [] if v["number"] == wanted), None)


def _warn_of_arguments(output: Output, words: Sequence[str], variables: Sequence[Variable]) -> None:
    names = [v["name"] for v in variables if v["sensitive"] and _is_in_arguments(words, v["name"])]
    if names:
        output.note(
            f"{', '.join(names)}: others on this machine can read a command's arguments; "
            f"better -p {names[0]}=@FILE, or -p {names[0]} to be asked"
        )


def _ask(variable: Variable) -> str:
    name = variable["name"]
    text = f"{name} ({variable['description']})" if variable["description"] else name
    hidden = variable["sensitive"]
    shown = printable(text)
    default = None if variable["required"] else ""
    return str(
        click.prompt(shown, hide_input=hidden, default=default, show_default=False, err=True)
    )


def _is_in_arguments(words: Sequence[str], name: str) -> bool:
    given = [word.removeprefix(f"{name}=") for word in words if word.startswith(f"{name}=")]
    return any(value and (not value.startswith("@") or value.startswith("@@")) for value in given)


def _read(name: str, file: str) -> str:
    """A file's text without its last line's end. Raises InputError("parameter_unreadable")."""
    try:
        content = sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
        text = content.decode()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(
            "parameter_unreadable",
            f"cannot read the value of {name} from {file}: {why}",
            hint=f"-p {name}=@@… is a value that begins with @",
        ) from error
    return text.removesuffix("\n").removesuffix("\r")
