"""Options that several commands take, as one decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Command = TypeVar("_Command", bound=Callable[..., Any])


def option_group(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    """A decorator that gives a command `options`, which its help lists in this order."""

    def give(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return give
