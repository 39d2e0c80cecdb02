"""What a template notes on its resources, as fields of `kled show`."""

from __future__ import annotations

from kled_client.api.models import Note, Workspace
from kled_client.output import one_line

# A value that is shown in one line, in characters.
_VALUE_MAX = 200


def describe_notes(found: Workspace) -> dict[str, str | None]:
    """A field for each resource that something is noted on, and what they cost in a day."""
    said: dict[str, list[str]] = {}
    for note in found.get("notes") or ():  # an older coordinator tells none
        if not note["hide"] and (texts := list(_texts(note))):
            said.setdefault(note["address"], []).extend(texts)
    fields: dict[str, str | None] = {name: ", ".join(texts) for name, texts in said.items()}
    if cost := found.get("daily_cost"):
        fields["daily cost"] = str(cost)
    return fields


def _texts(note: Note) -> list[str]:
    texts: list[str] = []
    for item in note["items"]:
        value = "(sensitive)" if item["sensitive"] else one_line(item["value"], _VALUE_MAX)
        texts.append(f"{item['key']} {value}".strip())
    return [*texts, f"costs {note['daily_cost']} a day"] if note["daily_cost"] else texts
