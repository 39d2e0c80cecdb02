"""Routes: the agent's bundles, for later requests on a connection that the API serves.

The first request of a connection is answered by front/bundles.py; a reverse proxy keeps its
connections and sends any request on them.
"""

from __future__ import annotations

import trio
from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from kled_coord.api.guard import ServicesDep
from kled_coord.bundles.store import FOREVER, look_up

router = APIRouter(prefix="/bin", tags=["bundles"])


@router.head("/{name}", include_in_schema=False)
@router.get("/{name}")
async def bundle(services: ServicesDep, name: str) -> Response:
    """A bundle by its hash, which never changes, or `agent.sh`, which fetches the newest."""
    url = services.config.access_url
    found = await trio.to_thread.run_sync(look_up, services.bundles, name, url)
    if isinstance(found, str):
        return Response(found, media_type="text/x-shellscript")
    headers = {"Cache-Control": FOREVER}
    return FileResponse(found.path, media_type="application/gzip", headers=headers)
