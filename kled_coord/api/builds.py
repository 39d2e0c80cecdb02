"""Routes: builds and their logs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from kled_coord.api.answers import BuildAnswer, NoteAnswer, fields_of
from kled_coord.api.build_answers import StepAnswer
from kled_coord.api.guard import BearerDep, BuildIdDep, CallerDep, ServicesDep
from kled_coord.builds.logs import BuildProgress, End
from kled_coord.identity.service import IdentityService
from kled_coord.store.records import LogLine

router = APIRouter(prefix="/api/v1/builds", tags=["builds"])


@router.get("/{build_id}")
async def get_build(build_id: BuildIdDep, services: ServicesDep, caller: CallerDep) -> BuildAnswer:
    """One build."""
    build = await services.builds.get(caller, build_id)
    answer = BuildAnswer.of(build, services.config.workers)
    notes = await services.builds.notes(build)
    answer.notes = [NoteAnswer.model_validate(note) for note in notes]
    return answer


@router.get("/{build_id}/logs")
async def get_log(
    build_id: BuildIdDep,
    services: ServicesDep,
    caller: CallerDep,
    bearer: BearerDep,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    follow: bool = False,
) -> StreamingResponse:
    """The log from line `after` on, one JSON object a line; with `follow` until the end."""
    items = await services.builds.log(caller, build_id, after=after, follow=follow)
    return Admitted(services.identity, bearer, _lines(items))


@router.get("/{build_id}/timings")
async def get_timings(
    build_id: BuildIdDep, services: ServicesDep, caller: CallerDep
) -> list[StepAnswer]:
    """How long each step of a build took, from its place in the queue to its scripts."""
    steps = await services.builds.timings(caller, build_id)
    return [StepAnswer.model_validate(fields_of(step)) for step in steps]


@router.post("/{build_id}/cancel", status_code=202)
async def cancel_build(
    build_id: BuildIdDep, services: ServicesDep, caller: CallerDep, force: bool = False
) -> BuildAnswer:
    """Ask a build to stop; with `force` Terraform gets no time to finish what it is at."""
    build = await services.builds.cancel(caller, build_id, force=force)
    return BuildAnswer.of(build, services.config.workers)


@router.post("/{build_id}/retry", status_code=202)
async def retry_build(
    build_id: BuildIdDep, services: ServicesDep, caller: CallerDep
) -> BuildAnswer:
    """Queue a failed or cancelled build again, with its version and values."""
    build = await services.builds.retry(caller, build_id)
    return BuildAnswer.of(build, services.config.workers)


class Admitted(StreamingResponse):
    """A response that lasts as long as the caller's access, lines of JSON by default.

    What ends with the access ends cut off.
    """

    def __init__(
        self,
        identity: IdentityService,
        bearer: str,
        pieces: AsyncIterator[bytes],
        *,
        media_type: str = "application/x-ndjson",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(pieces, media_type=media_type, headers=headers)
        self._identity = identity
        self._bearer = bearer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._identity.admitted(self._bearer):
            await super().__call__(scope, receive, send)


async def _lines(items: AsyncIterator[LogLine | BuildProgress | End]) -> AsyncIterator[bytes]:
    async for item in items:
        yield json.dumps(_shown(item), ensure_ascii=False).encode() + b"\n"


def _shown(item: LogLine | BuildProgress | End) -> dict[str, Any]:
    if isinstance(item, LogLine):
        at = item.at.isoformat().replace("+00:00", "Z")
        return {"seq": item.seq, "at": at, "level": item.level, "text": item.text}
    if isinstance(item, BuildProgress):
        shown = {"done": item.done, "total": item.total, "message": item.message}
        return {"progress": shown}
    return {"end": {"status": item.status, "error": item.error}}
