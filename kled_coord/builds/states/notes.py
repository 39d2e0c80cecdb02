"""Reads from a state what a template notes on its resources (`kled_metadata`). Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kled_coord.builds.states.instances import Instance, instances_of, text_of
from kled_coord.masking import HIDDEN
from kled_wire.text import printable

# All notes of one build are kept in its row.
NOTES_BYTES_MAX: Final = 64 << 10
_ITEMS_MAX: Final = 100
_KEY_MAX: Final = 200
_VALUE_MAX: Final = 2048
# An item in a line of the log, in characters.
_TOLD_MAX: Final = 200


def applied_notes(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The notes as JSON, by the address of the resource that they are on.

    Each has `address`, `type`, `icon`, `hide`, `daily_cost` and `items`: `key`, `value` and
    `sensitive`. A sensitive value is null, and so is one that the template left out. Those past
    NOTES_BYTES_MAX are left out.
    """
    instances = sorted(instances_of(state), key=lambda instance: instance.address)
    subjects: dict[str, list[Instance]] = {}
    for instance in instances:
        if instance.kind != "metadata":
            subjects.setdefault(text_of(instance.values, "id"), []).append(instance)
    subjects.pop("", None)
    found = [
        _note(_subject(candidates, i), i)
        for i in instances
        if i.kind == "metadata" and (candidates := subjects.get(text_of(i.values, "resource_id")))
    ]
    return list(_bounded(sorted(found, key=lambda note: str(note["address"]))))


def tell_notes(notes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line of the log for each note that is not hidden and says something."""
    for note in notes:
        said = [*map(_tell_item, note["items"])]
        if note["daily_cost"]:
            said.append(f"costs {note['daily_cost']} a day")
        if said and not note["hide"]:
            yield f"{note['address']}: {', '.join(said)}"


def _subject(candidates: Sequence[Instance], note: Instance) -> Instance:
    """The resource that the note's configuration names: an id is unique within one type alone."""
    named = (each for each in candidates if each.place in note.depends_on)
    return next(named, candidates[0])


def _note(subject: Instance, note: Instance) -> dict[str, Any]:
    items = note.values.get("item") or ()
    return {
        "address": subject.address,
        "type": subject.type,
        "icon": text_of(note.values, "icon")[:_VALUE_MAX],
        "hide": bool(note.values.get("hide")),
        "daily_cost": _cost(note.values.get("daily_cost")),
        "items": [_item(note, index, item) for index, item in enumerate(items[:_ITEMS_MAX])],
    }


def _item(note: Instance, index: int, item: Mapping[str, Any]) -> dict[str, Any]:
    # Terraform knows better than the template what is a secret: a value, the item or all of them.
    marked = [path for path in note.sensitive if path in {("item",), ("item", index, *path[2:])}]
    is_sensitive = bool(item.get("sensitive")) or bool(marked)
    key = HIDDEN if ("item", index, "key") in marked else printable(text_of(item, "key"))
    shown = None if is_sensitive or item.get("value") is None else text_of(item, "value")
    return {
        "key": key[:_KEY_MAX],
        "value": None if shown is None else printable(shown, keep="\n\t")[:_VALUE_MAX],
        "sensitive": is_sensitive,
    }


def _cost(value: object) -> int | float:
    if isinstance(value, float) and not value.is_integer():
        return value if math.isfinite(value) else 0
    return int(value) if isinstance(value, int | float) else 0


def _tell_item(item: Mapping[str, Any]) -> str:
    shown = "(sensitive)" if item["sensitive"] else " ".join((item["value"] or "").split())
    return f"{item['key']} {shown}".strip()[:_TOLD_MAX]


def _bounded(notes: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    size = 0
    for note in notes:
        size += len(json.dumps(note))
        if size > NOTES_BYTES_MAX:
            return
        yield note
