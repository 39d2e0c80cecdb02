"""Reads the changes in a plan, as `terraform show -json` prints it. Pure.

Format: https://developer.hashicorp.com/terraform/internals/json-format. It has sensitive values in
clear, and says where they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kled_coord.masking import Mask

# The length of one value as JSON.
VALUE_MAX: Final = 1000
CHANGES_MAX: Final = 1000
_ACTIONS: Final[Mapping[tuple[str, ...], str]] = {
    ("create",): "create",
    ("update",): "update",
    ("delete",): "delete",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("forget",): "forget",
}
# Actions that destroy a resource.
DESTROYING: Final = frozenset({"delete", "replace"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeChange:
    """An attribute that is to be another. A value is None where it is none, or not shown.

    `hidden` says why: "sensitive" or "too long". `unknown`: the new one is known after the apply.
    """

    name: str
    before: Any
    after: Any
    hidden: str | None = None
    unknown: bool = False
    replaces: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceChange:
    """What is to happen to a resource: create, update, delete, replace or forget.

    `attributes` are those that change, of an update or a replacement.
    """

    address: str
    action: str
    attributes: tuple[AttributeChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChanges:
    """A plan: what it would change, and what was found to be other than in the state."""

    changes: tuple[ResourceChange, ...]
    drift: tuple[ResourceChange, ...]

    @property
    def destroyed(self) -> tuple[str, ...]:
        """Addresses of what the plan destroys or replaces."""
        return tuple(each.address for each in self.changes if each.action in DESTROYING)


def parse_plan(document: bytes, secrets: Iterable[str] = ()) -> PlannedChanges | None:
    """Read what `show -json` prints of a plan; None where it is not that.

    Neither one of `secrets` is in it, nor what is sensitive anywhere in the plan: a provider may
    put the same value where Terraform takes it for a plain one.
    """
    try:
        value = json.loads(document)
        changes, drift = (value.get(name) or () for name in ("resource_changes", "resource_drift"))
        mask = Mask([*secrets, *(s for each in (*changes, *drift) for s in _secrets_of(each))])
        return PlannedChanges(
            changes=_read_changes(changes, mask), drift=_read_changes(drift, mask)
        )
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None


def _secrets_of(found: Mapping[str, Any]) -> Iterator[str]:
    for which in ("before", "after"):
        yield from _secrets(found["change"].get(which), found["change"].get(f"{which}_sensitive"))


def _secrets(value: Any, mark: Any) -> Iterator[str]:
    """The texts in a value that are marked, also within what is."""
    match value:
        case str() if mark is True:
            yield value
        case list():
            marks = mark if isinstance(mark, list) else [mark] * len(value)
            for each, its in zip(value, marks, strict=False):
                yield from _secrets(each, its)
        case dict():
            for name, each in value.items():
                yield from _secrets(each, mark.get(name) if isinstance(mark, dict) else mark)


def _read_changes(found: Sequence[Mapping[str, Any]], mask: Mask) -> tuple[ResourceChange, ...]:
    read = [
        ResourceChange(
            address=mask.hide(each["address"]),
            action=_ACTIONS[actions],
            attributes=_attributes(each["change"], mask),
        )
        for each in found
        # Data sources are read, and change nothing.
        if each["mode"] == "managed" and (actions := tuple(each["change"]["actions"])) in _ACTIONS
    ]
    return tuple(read[:CHANGES_MAX])


def _attributes(change: Mapping[str, Any], mask: Mask) -> tuple[AttributeChange, ...]:
    before, after = change.get("before"), change.get("after")
    if not isinstance(before, dict) or not isinstance(after, dict):
        return ()
    replacing = {str(path[0]) for path in change.get("replace_paths") or () if path}
    unknown = _names(change.get("after_unknown"))
    sensitive = _names(change.get("before_sensitive")) | _names(change.get("after_sensitive"))
    return tuple(
        _attribute(
            name,
            None if name in sensitive else mask.hide_within(before.get(name)),
            None if name in sensitive else mask.hide_within(after.get(name)),
            hidden="sensitive" if name in sensitive else None,
            unknown=name in unknown,
            replaces=name in replacing,
        )
        for name in sorted({*before, *after, *unknown})
        if name in unknown or before.get(name) != after.get(name)
    )


def _attribute(
    name: str, before: Any, after: Any, *, hidden: str | None, unknown: bool, replaces: bool
) -> AttributeChange:
    if max(len(json.dumps(before)), len(json.dumps(after))) > VALUE_MAX:
        before, after, hidden = None, None, "too long"
    return AttributeChange(
        name=name, before=before, after=after, hidden=hidden, unknown=unknown, replaces=replaces
    )


def _names(marks: Any) -> set[str]:
    """The attributes in which something is marked."""
    found = marks if isinstance(marks, dict) else {}
    return {name for name, mark in found.items() if _is_marked(mark)}


def _is_marked(mark: Any) -> bool:
    match mark:
        case dict():
            return any(map(_is_marked, mark.values()))
        case list():
            return any(map(_is_marked, mark))
        case _:
            return mark is True
