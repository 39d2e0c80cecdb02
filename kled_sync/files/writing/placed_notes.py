"""Notes of what jobs put into place that is not what their sessions planned.

A file that is saved between the plan and the reading comes as it was read. The session learns of it
by the answers. Who is killed before has what it planned, which then neither side has: its next run
asks here. A note is written before the renames, and believed only where the file is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from blake3 import blake3

from kled_sync.tree.entry import TreeEntry
from kled_sync.wire.codec import decode_message, encode_message
from kled_sync.wire.messages import FoundEntries, PlacedFound
from kled_wire.errors import ProtocolError

_DIGEST_BYTES: Final = 32
# More than jobs are under way whose answers the session has not taken.
_NOTES_MAX: Final = 64
_LENGTH_MAX: Final = 32


class PlacedNotes:
    """The notes of one root, each a file. Blocks; for one thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # Those of this process, the oldest first.
        self._own: deque[Path] = deque()

    def write(self, note: str, found: Iterable[tuple[bytes, TreeEntry]]) -> None:
        """Note what is about to be put into place. Raises OSError."""
        if not self._own:
            self._begin()
        path = self._directory / note
        self._own.append(path)
        data = encode_message(PlacedFound(request=0, found=FoundEntries(found)))
        path.write_bytes(data + blake3(data).digest())
        if len(self._own) > _NOTES_MAX:
            self._own.popleft().unlink(missing_ok=True)

    def _begin(self) -> None:
        """Remove those of earlier processes: a session asks before its first job."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for path in self._directory.iterdir():
            path.unlink(missing_ok=True)

    def read(self, note: str) -> FoundEntries:
        """What was noted; nothing where that is not known."""
        with suppress(OSError, ProtocolError):
            data = (self._directory / note).read_bytes()
            data, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
            if blake3(data).digest() == digest:
                message = decode_message(data)
                return message.found if isinstance(message, PlacedFound) else FoundEntries()
        return FoundEntries()


def check_note(note: str) -> str:
    """The name of a note, as it came. Raises ProtocolError."""
    if len(note) > _LENGTH_MAX or (note and not (note.isascii() and note.isalnum())):
        raise ProtocolError("sync_message_refused", "an invalid note")
    return note
