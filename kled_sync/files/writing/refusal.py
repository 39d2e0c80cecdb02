"""What an operation says that was not done."""

from __future__ import annotations

from typing import Final

CHANGED: Final = ("changed", "it was changed here meanwhile")


class Refusal(Exception):  # noqa: N818  # not an error of ours: what is there has changed
    """Why an operation was refused: a code, and a sentence."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words
