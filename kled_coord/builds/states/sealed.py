"""Seals the versions of states that are written to the database, and opens those that are read.

For transactions, whose thread may take its time: a state may have 64 MiB.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from kled_coord.store.sealing import Sealer
from kled_coord.store.states import insert_state, newest_state, state_version

_PURPOSE: Final = "state"


class SealedStates:
    """Writes and reads content. What opens it raises KledError("sealed_unreadable")."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def newest(self, connection: Any, workspace_id: str) -> tuple[int, bytes | None]:
        """The number and the content of the newest version; 0 and None where there is none.

        The content is None too where Terraform has deleted the state.
        """
        version, sealed = newest_state(connection, workspace_id) or (0, None)
        return version, self._open(workspace_id, version, sealed)

    def version(self, connection: Any, workspace_id: str, version: int) -> bytes | None:
        """The content of one version; None where it is not kept, or says there was none."""
        sealed = state_version(connection, workspace_id, version)
        return self._open(workspace_id, version, sealed)

    def append(
        self,
        connection: Any,
        workspace_id: str,
        version: int,
        content: bytes | None,
        *,
        build_id: str,
        now: datetime,
        pushed_by: str | None = None,
    ) -> None:
        """Write the next version, whose number `next_state_version` has given."""
        row = _row(workspace_id, version)
        insert_state(
            connection,
            workspace_id=workspace_id,
            version=version,
            build_id=build_id,
            content_sealed=None if content is None else self._sealer.seal(_PURPOSE, row, content),
            now=now,
            pushed_by=pushed_by,
        )

    def _open(self, workspace_id: str, version: int, sealed: bytes | None) -> bytes | None:
        if sealed is None:
            return None
        return self._sealer.open(_PURPOSE, _row(workspace_id, version), sealed)


def _row(workspace_id: str, version: int) -> str:
    return f"{workspace_id}/{version}"
