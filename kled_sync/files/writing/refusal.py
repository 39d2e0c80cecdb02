"""What an operation says that was not done."""

from __future__ import annotations

import errno
from typing import Final

CHANGED: Final = ("changed", "it was changed here meanwhile")
DAMAGED: Final = ("damaged", "it came damaged")
READ_FAILED: Final = "read_failed"


class Refusal(Exception):  # noqa: N818  # not an error of ours: what is there has changed
    """Why an operation was refused: a code, and a sentence."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words


def trouble_of(exc: OSError) -> tuple[str, str]:
    """A code and words for a file that could not be written."""
    code = "no_space" if exc.errno in {errno.ENOSPC, errno.EDQUOT} else "write_failed"
    return code, exc.strerror or str(exc)
