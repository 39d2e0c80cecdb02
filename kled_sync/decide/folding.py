"""Names that a filesystem which folds case cannot tell apart. No I/O."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterable


def folded(name: bytes) -> str:
    """The same for all names that lead to one file there; Unicode's full case folding."""
    return composed(name).decode("utf-8", "surrogateescape").casefold()


def composed(name: bytes) -> bytes:
    """In Unicode's form C, as most systems write names; as it is where it is no text."""
    try:
        return unicodedata.normalize("NFC", name.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return name


def indistinct(
    names: Iterable[bytes], there: Container[bytes], agreed: Container[bytes]
) -> dict[bytes, bytes]:
    """Of a directory's names those that are not to be brought to a side that folds case.

    Each with the name that has its place: one that is `there`, else the first. What was agreed on
    is no newcomer: it was renamed or deleted.
    """
    found: dict[bytes, bytes] = {}
    places: dict[str, list[bytes]] = {}
    for name in sorted(names):
        places.setdefault(folded(name), []).append(name)
    for same in places.values():
        if len(same) > 1:
            winner = next((name for name in same if name in there), same[0])
            found |= {n: winner for n in same if n != winner and n not in there and n not in agreed}
    return found
