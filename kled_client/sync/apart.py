"""Whether a sync overlaps an earlier one, also where neither can be reached now.

An endpoint refuses a root that overlaps one which is held at that moment. So of two syncs the one
that is reached first would run, were it the later one; and which that is may change with each loss
of the network. Here the one that was started first runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from kled_client.account.files import replace_private
from kled_client.sync.barrier import is_same
from kled_client.sync.place import SyncPlace
from kled_client.sync.sessions import SessionStore, SyncSession
from kled_sync.decide.modes import SyncSide
from kled_sync.tree.paths import shown
from kled_sync.tree.tree import is_or_is_below
from kled_wire.errors import ConflictError, KledError

# In the directory of a session: where its folders are, as their machines said last.
_FILE: Final = "roots.json"
Roots = Mapping[SyncSide, bytes]


class EarlierSyncs:
    """Those in a store that a sync of it must not overlap. Blocks for small files."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    def check(self, session: SyncSession, roots: Roots | None = None) -> None:
        """Compare the folders with those of earlier syncs that are not paused; `roots` are where
        they were found to be just now. Raises ConflictError("sync_root_busy"), OSError.
        """
        if roots is not None:
            self._remember(session, roots)
        own = self._folders(session)
        for other in self._before(session):
            for place, root in self._folders(other):
                for mine, path in own:
                    if _is_one_machine(place, mine) and _overlap(root, path):
                        raise ConflictError(
                            "sync_root_busy",
                            f"the earlier sync {other.name} has {shown(root)}, which overlaps "
                            f"{shown(path)}",
                            hint=f"kled sync stop {session.name}, or {other.name} and "
                            f"kled sync resume {session.name}",
                        )

    def _before(self, session: SyncSession) -> list[SyncSession]:
        found = []
        for name in self._store.names():
            with suppress(KledError):
                other = self._store.load(name)
                is_earlier = (other.began_s, other.name) < (session.began_s, session.name)
                if is_earlier and not other.paused:
                    found.append(other)
        return found

    def _folders(self, session: SyncSession) -> list[tuple[SyncPlace, bytes]]:
        known = self._known(session)
        sides = zip(SyncSide, session.places(), strict=True)
        return [
            (place, known.get(side) or os.path.normpath(os.fsencode(place.path)))
            for side, place in sides
        ]

    def _known(self, session: SyncSession) -> dict[SyncSide, bytes]:
        path = self._store.directory(session.name) / _FILE
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads(path.read_bytes())
            return {side: os.fsencode(str(found[side.value])) for side in SyncSide}
        return {}

    def _remember(self, session: SyncSession, roots: Roots) -> None:
        if self._known(session) != roots:
            told = {side.value: os.fsdecode(root) for side, root in roots.items()}
            path = self._store.directory(session.name) / _FILE
            replace_private(os.fspath(path), json.dumps(told).encode())


def _is_one_machine(one: SyncPlace, other: SyncPlace) -> bool:
    if one.workspace is not None and other.workspace is not None:
        return is_same(one.workspace, other.workspace)
    return one.workspace is other.workspace and one.ssh == other.ssh


def _overlap(one: bytes, other: bytes) -> bool:
    return is_or_is_below(one, other) or is_or_is_below(other, one)
