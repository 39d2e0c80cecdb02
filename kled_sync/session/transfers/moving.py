"""Has one side rename whole directories that the other has under another name."""

from __future__ import annotations

from collections.abc import Sequence

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.moves import DirectoryMove
from kled_sync.decide.operations import SyncJob
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.sides.side import SideState
from kled_sync.session.transfers.jobs import failed_in, place_message
from kled_sync.wire import messages


async def move_directories(
    number: int,
    moves: Sequence[DirectoryMove],
    target: SideState,
    side: SyncSide,
    agreement: Agreement,
    *,
    urgent: bool,
) -> list[DirectoryMove]:
    """Do the moves and return those that were done, in `target` and `agreement` too.

    `number` is that of the job.

    One that was refused has left everything where it was. Raises KledError.
    """
    for move in moves:
        agreement.intend_move(side, move.source, move.path)
    job = SyncJob(operations=[o for move in moves for o in move.operations])
    placed = target.expect(number, messages.JobPlaced)
    try:
        await target.peer.send(place_message(number, job, urgent=urgent))
        answer = await placed.got()
        assert isinstance(answer, messages.JobPlaced)
    finally:
        target.forget_job(number, messages.JobPlaced)
    failed = {job.operations[n].path for n in failed_in(answer) if n < len(job.operations)}
    done = [move for move in moves if move.path not in failed]
    for move in moves:
        if move.path in failed:
            agreement.forget_move(move.path)
        else:
            target.tree.move(move.source, move.path)
            agreement.note_move(move.source, move.path)
    return done
