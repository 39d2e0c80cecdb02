"""Parses what somebody types to find workspaces: `owner:me status:running template:x`, and words.

Pure. Alternatives are separated by commas, or the key is repeated.
"""

from __future__ import annotations

from typing import Final

from kled_coord.store.filters import WorkspaceSearch
from kled_coord.workspaces.lifecycle import STATUSES
from kled_wire.errors import InputError

ME: Final = "me"
_KEYS: Final = {
    "owner": "owners",
    "name": "names",
    "template": "templates",
    "status": "statuses",
    "outdated": "outdated",
}
_TRUTH: Final = {"true": True, "yes": True, "false": False, "no": False}
_TERMS_MAX: Final = 20


def parse_search(text: str, caller: str) -> WorkspaceSearch:
    """What is looked for; `owner:me` is `caller`. Raises InputError("search_invalid")."""
    terms = text.split()
    if len(terms) > _TERMS_MAX:
        raise _invalid(f"more than {_TERMS_MAX} words to look for")
    words: list[str] = []
    found: dict[str, list[str]] = {field: [] for field in _KEYS.values()}
    for term in terms:
        key, colon, value = term.partition(":")
        if not colon:
            words.append(term)
        elif key not in _KEYS:
            raise _invalid(f"nothing is called {key!r}", hint=f"there are {', '.join(_KEYS)}")
        else:
            found[_KEYS[key]] += _values(key, value)
    outdated = found.pop("outdated")
    owners = [caller if owner == ME else owner for owner in found.pop("owners")]
    _check_statuses(found["statuses"])
    return WorkspaceSearch(
        words=tuple(words),
        owners=tuple(owners),
        names=tuple(found["names"]),
        templates=tuple(found["templates"]),
        statuses=tuple(found["statuses"]),
        outdated=_truth(outdated) if outdated else None,
    )


def _values(key: str, text: str) -> list[str]:
    values = text.split(",")
    if not all(values):
        raise _invalid(f"{key}: has an empty value", hint=f"{key}:VALUE, without a space")
    return values


def _check_statuses(wanted: list[str]) -> None:
    for status in wanted:
        if status not in STATUSES:
            raise _invalid(
                f"no workspace is ever {status!r}", hint=f"there are {', '.join(sorted(STATUSES))}"
            )


def _truth(wanted: list[str]) -> bool:
    if len(set(wanted)) > 1 or wanted[0] not in _TRUTH:
        raise _invalid(f"outdated:{','.join(wanted)} is neither true nor false")
    return _TRUTH[wanted[0]]


def _invalid(message: str, *, hint: str | None = None) -> InputError:
    return InputError("search_invalid", f"the search: {message}", hint=hint)
