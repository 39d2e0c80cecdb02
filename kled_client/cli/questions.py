"""Questions at a terminal: a template's parameters, one after the other, again where one is wrong.

Terraform says at the coordinator which parameters there are with the answers so far, so that one
that hangs on another is asked for when it is there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

import click

from kled_client.api.models import AskedParameter, ParameterForm
from kled_client.output import Output
from kled_client.terminal.menu import Menu, MenuLine, Pressed, split_keys
from kled_client.terminal.tty import raw_mode, size
from kled_wire.errors import InputError
from kled_wire.text import printable

Evaluate = Callable[[Mapping[str, str]], Awaitable[ParameterForm]]

_YES_NO: Final = (("yes", "true"), ("no", "false"))
_READ_BYTES: Final = 64


async def ask_parameters(
    evaluate: Evaluate,
    output: Output,
    given: Mapping[str, str],
    *,
    wanted: Collection[str],
    kept: Collection[str],
    only_needed: bool,
) -> dict[str, str]:
    """Ask for what is `wanted` by name, and what was neither given nor is `kept`.

    `only_needed`: of the latter those alone that have no value that fits. Returns all answers. A
    value of `given` that does not fit is for the coordinator to refuse. Raises InputError.
    """
    answers = dict(given)
    own: set[str] = set()
    while True:
        found = await evaluate(answers)
        asked = next(
            (
                each
                for each in found["parameters"] or ()
                if _is_next(each, given, own, wanted, kept, only_needed=only_needed)
            ),
            None,
        )
        if asked is None:
            return answers
        if asked["name"] in own:
            output.note(f"{printable(asked['error'] or '')}")
        answers[asked["name"]] = ask(asked, output)
        own.add(asked["name"])


def _is_next(
    parameter: AskedParameter,
    given: Collection[str],
    own: Collection[str],
    wanted: Collection[str],
    kept: Collection[str],
    *,
    only_needed: bool,
) -> bool:
    name, is_wrong = parameter["name"], parameter["error"] is not None
    if name in given:
        return False
    if name in own or only_needed or name in kept:
        return is_wrong or (name in wanted and name not in own)
    return True


def ask(parameter: AskedParameter, output: Output) -> str:
    """One answer, as text. Raises click.Abort where somebody leaves."""
    title = printable(parameter["display_name"] or parameter["name"])
    output.note("")
    output.note(title)
    if parameter["description"]:
        output.note(f"  {printable(parameter['description'], keep=chr(10))}")
    before = parameter["value"] if parameter["error"] is None else parameter["default"]
    choices = [(o["name"], o["value"], o["description"]) for o in parameter["options"]]
    if parameter["type"] == "bool" and not choices:
        choices = [(name, value, "") for name, value in _YES_NO]
    if not choices:
        return _ask_text(parameter, before)
    if parameter["type"] == "list(string)" and parameter["form_type"] == "multi-select":
        marked = _elements(before or "[]")
        chosen = _choose(choices, marked, several=True)
        return json.dumps(chosen)
    return _choose(choices, [before or ""], several=False)[0]


def _ask_text(parameter: AskedParameter, before: str | None) -> str:
    # Without a default the owner has to choose: an empty line is asked again.
    is_needed = parameter["default"] is None
    text = str(
        click.prompt(
            f"{printable(parameter['name'])}{_limits(parameter)}",
            default=before or (None if is_needed else ""),
            show_default=bool(before),
            err=True,
        )
    )
    if parameter["type"] == "list(string)" and not text.lstrip().startswith("["):
        # As people write it: a, b
        return json.dumps([part.strip() for part in text.split(",") if part.strip()])
    return text


def _limits(parameter: AskedParameter) -> str:
    rules = parameter["validation"]
    if rules is None or (rules["min"] is None and rules["max"] is None):
        return ""
    low, high = ("" if rules[key] is None else f"{rules[key]:g}" for key in ("min", "max"))
    return f" ({low}..{high})"


def _choose(choices: list[tuple[str, str, str]], before: list[str], *, several: bool) -> list[str]:
    values = [value for _, value, _ in choices]
    found = frozenset(number for number, value in enumerate(values) if value in before)
    menu = Menu(
        entries=[MenuLine(printable(name), printable(about)) for name, _, about in choices],
        at=min(found, default=0),
        several=several,
        marked=found if several else frozenset(),
    )
    menu = _show(menu)
    return [values[n] for n in sorted(menu.marked)] if several else [values[menu.at]]


def _show(menu: Menu) -> Menu:
    """Let a person move in a menu until they choose. Raises click.Abort where they leave."""
    descriptor = sys.stdin.fileno()
    drawn = 0
    with raw_mode(descriptor):
        while True:
            drawn = _draw(menu, drawn)
            for key in split_keys(os.read(descriptor, _READ_BYTES) or b"\x04"):
                menu, pressed = menu.press(key)
                if pressed is Pressed.LEFT:
                    raise click.Abort
                if pressed is Pressed.CHOSEN:
                    _draw(menu, drawn)
                    return menu


def _draw(menu: Menu, drawn: int) -> int:
    """Draw over the `drawn` lines of before; returns how many there are now."""
    lines = menu.lines(size(sys.stderr.fileno())[0])
    up = f"\x1b[{drawn}A" if drawn else ""
    sys.stderr.write(up + "".join(f"\r\x1b[K{line}\r\n" for line in lines))
    sys.stderr.flush()
    return len(lines)


def _elements(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def no_terminal(name: str) -> InputError:
    """Where somebody is to be asked and nobody is there."""
    return InputError(
        "no_terminal", f"there is no terminal to ask for {name}", hint=f"-p {name}=@FILE"
    )
