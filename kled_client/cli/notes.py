"""What a template notes on its resources, as fields of `kled show`. Pure."""

from __future__ import annotations

from kled_client.api.models import Note, Workspace

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
    texts = [
        f"{item['key']} {'(sensitive)' if item['sensitive'] else _line(item['value'])}".strip()
        for item in note["items"]
    ]
    return [*texts, f"costs {note['daily_cost']} a day"] if note["daily_cost"] else texts


def _line(value: str | None) -> str:
    return " ".join((value or "").split())[:_VALUE_MAX]
