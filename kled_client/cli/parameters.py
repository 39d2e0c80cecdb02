"""`-p NAME=VALUE`, `NAME=@FILE`, `NAME`: values of a template's parameters."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from kled_client.api.client import Api
from kled_client.api.models import Variable
from kled_client.output import Output
from kled_wire.errors import InputError

_STDIN = "-"
param_option = click.option(
    "--param",
    "-p",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Template parameter; NAME=@FILE reads a file (@- standard input), NAME alone prompts.",
)


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


async def choose_parameters(
    api: Api,
    output: Output,
    words: Sequence[str],
    *,
    template: str,
    version: object,
    kept: Mapping[str, str | None],
) -> dict[str, str]:
    """The values of the words and, at a terminal, of what has to be given and is not `kept`.

    `version` is a version's number, None for the active one. Raises InputError.
    """
    given = parse_parameters(words)
    if not given and not sys.stdin.isatty():
        return {}  # a script: what is missing, the coordinator says
    found = await api.template(template)
    wanted = found["active_version"] if version is None else version
    versions = found.get("versions") or []
    variables = next((v.get("variables") or [] for v in versions if v["number"] == wanted), [])
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) < len(given) and not sys.stdin.isatty():
        name = next(name for name in given if name not in chosen)
        raise InputError(
            "no_terminal", f"there is no terminal to ask for {name}", hint=f"-p {name}=@FILE"
        )
    names = [v["name"] for v in variables if v["sensitive"] and _is_in_arguments(words, v["name"])]
    if names:
        output.note(
            f"{', '.join(names)}: others on this machine can read a command's arguments; "
            f"better -p {names[0]}=@FILE, or -p {names[0]} to be asked"
        )
    for variable in variables:
        name = variable["name"]
        needed = variable["required"] and name not in kept and sys.stdin.isatty()
        if name not in chosen and (name in given or needed):
            chosen[name] = _ask(variable)
    # The coordinator knows why there is no such parameter.
    return {**dict.fromkeys(given, ""), **chosen}


def _ask(variable: Variable) -> str:
    name = variable["name"]
    text = f"{name} ({variable['description']})" if variable["description"] else name
    hidden = variable["sensitive"]
    printable = "".join(c if c.isprintable() else " " for c in text)
    return str(click.prompt(printable, hide_input=hidden, default="", show_default=False, err=True))


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
