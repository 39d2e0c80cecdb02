"""A job as an endpoint is told of it, and its answer. No I/O."""

from __future__ import annotations

from kled_sync.decide.operations import SyncJob
from kled_sync.wire import messages
from kled_wire.errors import ProtocolError


def place_message(number: int, job: SyncJob, *, urgent: bool, note: str = "") -> messages.PlaceJob:
    """As an endpoint is told of a job, and under which name to note what it puts into place."""
    rows = (
        (int(o.do), o.path, o.new, o.old, o.source, *(o.files.row() if o.files.names else ()))
        for o in job.operations
    )
    return messages.PlaceJob(job=number, urgent=urgent, operations=messages.Rows(rows), note=note)


def failed_in(answer: messages.JobPlaced) -> dict[int, tuple[str, str]]:
    """Code and words, by the place of each operation that was not done. Raises ProtocolError."""
    found = {}
    for row in answer.failed:
        match row:
            case (int(number), str(code), str(words)):
                found[number] = code[:64], words[:500]
            case _:
                raise ProtocolError("sync_message_refused", "an invalid failure")
    return found
