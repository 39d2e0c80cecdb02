"""Answers requests for owners, special bits and extended attributes, and sets them."""

from __future__ import annotations

import stat
from typing import Any, Final

from kled_sync.decide.attributes import parse_change
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.files.attributes import read_attributes, set_attributes
from kled_sync.files.reading.memory import seen
from kled_sync.files.writing.kept_attributes import keep_attributes
from kled_sync.wire.messages import (
    AskAttributes,
    AttributesFound,
    AttributesSet,
    Rows,
    SetAttributes,
)

# No answer is longer than what a message may have; the session asks for the rest.
_ANSWER_BYTES: Final = 8 * 1024 * 1024


def answer_attributes(
    holding: HeldRoot, message: AskAttributes | SetAttributes
) -> AttributesFound | AttributesSet:
    """Raises ProtocolError; what cannot be done of single paths is in the answer."""
    if isinstance(message, AskAttributes):
        return _find(holding, message)
    return _change(holding, message)


def _find(holding: HeldRoot, message: AskAttributes) -> AttributesFound:
    """Of as many of the paths, from the first on, as one answer takes; of one at least."""
    holding.root.forget()
    rows: list[tuple[Any, ...]] = []
    size = 0
    for path in message.paths:
        found = read_attributes(holding.root, path, xattrs=message.xattrs)
        rows.append(found.row())
        size += sum(len(name) + len(value) for name, value in found.xattrs.items())
        if size >= _ANSWER_BYTES:
            break
    return AttributesFound(request=message.request, rows=Rows(rows))


def _change(holding: HeldRoot, message: SetAttributes) -> AttributesSet:
    holding.root.forget()
    failed = []
    for change in map(parse_change, message.rows):
        before = holding.root.stat(change.path)
        if change.keeps and holding.kept is not None:
            keep_attributes(holding.root, holding.kept, change.path, everything=True)
        words = set_attributes(holding.root, change)
        if words:
            failed.append((change.path, words))
        known = holding.memory.get(change.path)
        after = holding.root.stat(change.path)
        if known is None or before is None or after is None:
            continue
        if known.is_sure and known.is_still(before) and before.st_mtime_ns == after.st_mtime_ns:
            # The change is not reported: the content stayed the same.
            entry = known.entry.with_mode(stat.S_IMODE(after.st_mode))
            holding.memory.put(change.path, seen(entry, after))
    if holding.kept is not None:
        holding.kept.save()
    return AttributesSet(request=message.request, failed=Rows(failed))
