"""`kled update --all`: every workspace that is behind its template's active version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from kled_client.api.build_log import read_log
from kled_client.api.client import Api
from kled_client.api.models import Workspace
from kled_client.cli.context import Invocation
from kled_client.output import Meter
from kled_wire.errors import KledError

# Builds that this command has going on at once; those of others want their turn too.
AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """What has become of one workspace."""

    workspace: str
    before: int
    version: int
    result: str  # updated, or failed
    error: str | None = None


def update_all(invocation: Invocation) -> int:
    """Update the caller's workspaces and report; the exit code is 1 where one failed.

    One that runs is started with the version, one that is stopped stays so.
    """

    async def work(api: Api) -> list[Updated]:
        active = {each["name"]: each["active_version"] for each in await api.templates()}
        behind = [
            found
            for found in await api.workspaces()
            if active.get(found["template"]) not in {None, found["template_version"]}
        ]
        with invocation.output.progress(f"updating {len(behind)} workspaces") as meter:
            return await _update(api, behind, active, meter)

    done = invocation.call(work)
    columns = {
        "NAME": [each.workspace for each in done],
        "FROM": [str(each.before) for each in done],
        "TO": [str(each.version) for each in done],
        "RESULT": [each.result for each in done],
        "ERROR": [(each.error or "").partition("\n")[0] for each in done],
    }
    raw = [
        {
            "workspace": each.workspace,
            "from": each.before,
            "to": each.version,
            "result": each.result,
            "error": each.error,
        }
        for each in done
    ]
    invocation.output.rows(raw, columns, "every workspace has its template's active version")
    return 1 if any(each.error for each in done) else 0


async def _update(
    api: Api, behind: Sequence[Workspace], active: dict[str, int], meter: Meter
) -> list[Updated]:
    """Update them, a few at once; in the order in which they are given."""
    done: dict[str, Updated] = {}
    limit = trio.CapacityLimiter(AT_ONCE)

    async def one(found: Workspace) -> None:
        async with limit:
            updated = await _try(api, found, active[found["template"]])
        done[found["id"]] = updated
        meter.log(f"{found['name']}: {updated.error or updated.result}")
        meter.update(len(done), len(behind))

    async with trio.open_nursery() as nursery:
        for found in behind:
            nursery.start_soon(one, found)
    return [done[found["id"]] for found in behind]


async def _try(api: Api, found: Workspace, version: int) -> Updated:
    """Update one; what goes wrong with it keeps the others from nothing."""
    error: str | None = None
    transition = "stop" if found["status"] == "stopped" else "start"
    try:
        build = await api.start_build(found["id"], {"transition": transition, "version": version})
        error = await _end_of(api, build["id"])
    except KledError as failed:
        error = failed.line()
    return Updated(
        workspace=found["name"],
        before=found["template_version"],
        version=version,
        result="failed" if error else "updated",
        error=error,
    )


async def _end_of(api: Api, build_id: str) -> str | None:
    """Wait until a build is over; what went wrong, None where nothing did."""
    end: dict[str, Any] = {}
    await read_log(api, build_id, lambda item: end.update(item.get("end") or {}))
    if end.get("status") == "succeeded":
        return None
    return end.get("error") or f"the build ended as {end.get('status')}"
