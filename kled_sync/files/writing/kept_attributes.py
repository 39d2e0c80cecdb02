"""Keeps attributes of a path that are about to change, and gives them back.

A kept version of them is a list in JSON: mode, uid and gid (-1 for what did not change), extended
attributes in base64, names and values in turn, and whether those are to be set.
"""

from __future__ import annotations

import base64
import json

from kled_sync.decide.attributes import KEEP, AttributesToSet, parse_change
from kled_sync.files.attributes import read_attributes, set_attributes
from kled_sync.files.root import Root
from kled_sync.files.writing.kept import KeptVersion, KeptVersions
from kled_sync.files.writing.refusal import Refusal
from kled_wire.errors import ProtocolError


def keep_attributes(root: Root, kept: KeptVersions, path: bytes, *, everything: bool) -> None:
    """What `path` has now: its permissions, or `everything`; nothing where that is not known."""
    found = read_attributes(root, path, xattrs=everything)
    if not found.trouble:
        ids = (found.uid, found.gid) if everything else (KEEP, KEEP)
        flat = [part for pair in found.xattrs.items() for part in pair]
        words = [base64.b64encode(part).decode() for part in flat]
        kept.keep(path, json.dumps([found.mode, *ids, words, everything]).encode())


def give_back(root: Root, kept: KeptVersions, version: KeptVersion) -> None:
    """Keep what the path has now, and give it what it had. Raises Refusal."""
    change = _parse(version.path, kept.read(version))
    keep_attributes(root, kept, version.path, everything=change.sets_xattrs)
    words = set_attributes(root, change)
    if words:
        raise Refusal("write_failed", words)


def _parse(path: bytes, data: bytes) -> AttributesToSet:
    """Raises Refusal."""
    try:
        mode, uid, gid, words, everything = json.loads(data)
        flat = [base64.b64decode(word) for word in words]
        return parse_change((path, mode, uid, gid, "", "", flat, everything))
    except (ValueError, TypeError, ProtocolError) as exc:
        raise Refusal("gone", "what was kept of it cannot be read") from exc
