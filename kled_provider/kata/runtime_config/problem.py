"""What is wrong with a configuration of Kata."""

from __future__ import annotations

from dataclasses import dataclass

from kled_provider.kata.runtime_config.merged import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, at a key; a warning where it starts all the same.

    `index` is of the object, in a table that has several. `others` are the keys that it disagrees
    with: it is told at one of them where the template has set that, and not this one.
    """

    table: str
    key: str
    sentence: str
    is_warning: bool = False
    index: int | None = None
    others: tuple[Place, ...] = ()
