"""Names that a filesystem cannot tell apart, or writes in another form. No I/O."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterable
from typing import NamedTuple

from kled_sync.tree.paths import shown


class NameRules(NamedTuple):
    """How a filesystem treats names; on most nothing of it is so."""

    # `A` and `a` are one file.
    folds_case: bool
    # Names come back in Unicode's form D, whatever they were made with.
    decomposes: bool
    # A name is found in any form of Unicode; true as well where case is folded.
    folds_forms: bool = False

    def key(self, name: bytes) -> str:
        """The same for all names that lead to one file there; Unicode's full case folding."""
        text = composed(name).decode("utf-8", "surrogateescape")
        return text.casefold() if self.folds_case else text


def composed(name: bytes) -> bytes:
    """In Unicode's form C, as most systems write names; as it is where it is no text."""
    try:
        return unicodedata.normalize("NFC", name.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return name


def indistinct(
    names: Iterable[bytes], there: Container[bytes], agreed: Container[bytes], rules: NameRules
) -> dict[bytes, bytes]:
    """Of a directory's names those that are not to be brought to a side with such `rules`.

    Each with the name that has its place: one that is `there`, else the first; or that under which
    the side would list it. What was agreed on is no newcomer: it was renamed or deleted.
    """
    found: dict[bytes, bytes] = {}
    places: dict[str, list[bytes]] = {}
    for name in sorted(names):
        is_new = name not in there and name not in agreed
        if rules.decomposes and is_new and composed(name) != name:
            found[name] = composed(name)
        else:
            places.setdefault(rules.key(name), []).append(name)
    for same in places.values():
        if len(same) > 1:
            winner = next((name for name in same if name in there), same[0])
            found |= {n: winner for n in same if n != winner and n not in there and n not in agreed}
    return found


def words_of(name: bytes, instead: bytes) -> str:
    """Why `name` is not brought to a side that has `instead`."""
    if composed(name) == composed(instead):
        return "one side writes its name in another form of Unicode"
    return f"one side cannot tell its name from {shown(instead)}"
