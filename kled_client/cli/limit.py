"""An option value that is a number, or one word: `default` for the coordinator's setting."""

from __future__ import annotations

import click


class LimitType(click.ParamType[int | str]):
    """A number from `least` to `most`, or `word`."""

    name = "limit"

    def __init__(self, least: int = 0, most: int = 2**31 - 1, word: str = "default") -> None:
        self._word = word
        self._range = click.IntRange(least, most)

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if value == self._word:
            return self._word
        number: int = self._range(value, param, ctx)
        return number
