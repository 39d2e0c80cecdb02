"""One copy of a folder between two places: `kled sync push` and `pull`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kled_client.sync.place import SyncPlace
from kled_client.sync.processes import EndpointProcess
from kled_client.sync.reach import Connect, open_peer
from kled_sync.decide.attributes import NOTHING, AttributeWish
from kled_sync.decide.modes import SyncSide
from kled_sync.decide.safety import DELETED_PART_MAX, DELETIONS_MAX
from kled_sync.files.options import Options
from kled_sync.session.once import Confirm, OneSync, Plan, Result, Wish
from kled_sync.session.transfers.transfer import SyncMeter
from kled_wire.errors import InputError, KledError

# The options of rsync -a: links as they are, all permissions, times of directories too, and no
# rules but those given.
AS_RSYNC = Options(
    links="as-is", mode_mask=0o777, gitignore=False, durable="none", directory_times=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyWish:
    """What a person asked for."""

    source: SyncPlace
    target: SyncPlace
    delete: bool = False
    options: Options = field(default_factory=lambda: AS_RSYNC)
    attributes: AttributeWish = NOTHING
    # Whether `Plan` is to have all that would be changed.
    preview: bool = False


async def copy(
    wish: CopyWish,
    env: Mapping[str, str],
    connect: Connect,
    confirm: Confirm,
    meter: SyncMeter,
    processes: Sequence[EndpointProcess | None] = (None, None),
) -> Result:
    """Carry it out; `processes` are those of the source and the target, if they were started.

    Raises KledError; what failed for single files is in the result.
    """
    here = None
    if not (wish.source.is_here and wish.target.is_here):
        here = SyncSide.ALPHA if wish.source.is_here else SyncSide.BETA
    async with (
        open_peer(wish.source, str(wish.source), env, connect, processes[0]) as alpha,
        open_peer(wish.target, str(wish.target), env, connect, processes[1]) as beta,
    ):
        once = Wish(
            source=os.fsencode(wish.source.path),
            destination=os.fsencode(wish.target.path),
            options=wish.options,
            delete=wish.delete,
            attributes=wish.attributes,
            preview=wish.preview,
            here=here,
        )
        return await OneSync(alpha, beta, once, meter).run(confirm)


def must_ask(plan: Plan, deletions_max: int | None) -> bool:
    """Whether so many files would be deleted that somebody is to say yes."""
    if deletions_max is not None:
        return plan.deletions > deletions_max
    return plan.deletions > max(DELETIONS_MAX, plan.files * DELETED_PART_MAX)


async def check_deletions(
    plan: Plan, deletions_max: int | None, ask: Callable[[str], Awaitable[bool]] | None
) -> None:
    """Raises InputError("sync_deletes_many") where nobody can be asked, and
    KledError("not_deleted") where the answer is no.
    """
    if not must_ask(plan, deletions_max):
        return
    text = f"{plan.deletions} of {plan.files} files in the destination would be deleted"
    if ask is None:
        raise InputError(
            "sync_deletes_many", text, hint=f"--max-delete {plan.deletions} lets it be"
        )
    if not await ask(f"{text}. Go on?"):
        raise KledError("not_deleted", "nothing was copied or deleted")
