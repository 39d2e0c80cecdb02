"""Route: one neutral picture for every icon.

Templates name pictures of programs by paths (`/icon/code.svg`), which are their owners' to give
away; one of our own keeps a page whole. No token needed: it says nothing.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

router = APIRouter(tags=["icons"])

_PICTURE: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#808080" '
    'stroke-width="1.5"><rect x="3.5" y="4.5" width="17" height="15" rx="3"/>'
    '<path d="M3.5 9h17M7 13.5l2.5 2L7 17.5M12 17.5h5"/></svg>\n'
)
_DAY_S: Final = 86400


@router.get("/icon/{name:path}", response_class=Response)
async def icon(name: str) -> Response:  # noqa: ARG001 - every name has the same picture
    """A neutral picture, whatever the name."""
    headers = {"Cache-Control": f"public, max-age={_DAY_S}"}
    return Response(_PICTURE, media_type="image/svg+xml", headers=headers)
