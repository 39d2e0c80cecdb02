"""Whether a filesystem raises events: some take a watch and never tell of anything.

Such are some of FUSE, and those of sandboxes that only imitate inotify(7).
"""

from __future__ import annotations

import os
import select
from typing import Final

from kled_sync.watching.choice import Watcher
from kled_sync.watching.filesystem import filesystem_kind

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# The kernel tells of what was made on this machine before the call has returned.
_PROBE_MS: Final = 500


def raises_events(watcher: Watcher, directory: int) -> bool:
    """Whether `watcher`, which watches nothing yet, tells of a file that is made in `directory`.

    True where that cannot be found out. Blocks for half a second where nothing is told.
    """
    watcher.add(b"", directory)
    name = b"probe-%d" % os.getpid()
    try:
        os.close(os.open(name, _NEW, 0o600, dir_fd=directory))
        os.unlink(name, dir_fd=directory)
    except OSError:
        return True
    if watcher.unwatched:
        return True
    poll = select.poll()
    poll.register(watcher.descriptor, select.POLLIN)
    return bool(poll.poll(_PROBE_MS))


def silent_words(root: bytes) -> str:
    """What is said of a root whose filesystem raises no events."""
    kind = filesystem_kind(root).decode("utf-8", "replace") or "this filesystem"
    return (
        f"{kind}: changes raise no events here, and are seen at the next sweep. Remedy: a folder "
        "on a disk of this machine"
    )
