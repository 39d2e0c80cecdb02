"""Serves bundles: /bin/HASH, which never changes, and /bin/agent.sh, which fetches the newest.

Not the API's loop: an answer has 18 MB, and whoever asks has not signed in. The place that the
connection has among those of its address is kept until the last byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import trio

from kled_coord.bundles.store import FOREVER, BundleStore, look_up
from kled_coord.front.head import BUNDLES_PATH
from kled_coord.front.listener import Arrival
from kled_coord.front.refusing import answer_error, end_politely
from kled_wire.errors import KledError

_BLOCK_BYTES: Final = 256 * 1024
# A client that takes nothing for so long is cut.
_BLOCK_S: Final = 60.0


class BundlePlane:
    """Answers requests below /bin/."""

    def __init__(self, bundles: BundleStore, access_url: str) -> None:
        self._bundles = bundles
        self._access_url = access_url

    async def serve(self, arrival: Arrival) -> None:
        """One request, then the end of the connection."""
        try:
            await self._answer(arrival)
        except KledError as error:
            await answer_error(arrival.stream, error)

    async def _answer(self, arrival: Arrival) -> None:
        head = arrival.head
        name = head.path.removeprefix(BUNDLES_PATH)
        found = await trio.to_thread.run_sync(look_up, self._bundles, name, self._access_url)
        if isinstance(found, str):
            script = found.encode()
            await _send(arrival.stream, _headers(len(script), "text/x-shellscript", "no-cache"))
            if head.method == "GET":
                await _send(arrival.stream, script)
        else:
            await _send(arrival.stream, _headers(found.size, "application/gzip", FOREVER))
            if head.method == "GET":
                await _send_file(arrival.stream, found.path)
        await end_politely(arrival.stream)


def _headers(length: int, kind: str, caching: str) -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
        f"Cache-Control: {caching}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    ).encode()


async def _send_file(stream: trio.abc.SendStream, path: Path) -> None:
    async with await trio.open_file(path, "rb") as file:
        while block := await file.read(_BLOCK_BYTES):
            await _send(stream, block)


async def _send(stream: trio.abc.SendStream, data: bytes) -> None:
    with trio.move_on_after(_BLOCK_S) as scope:
        await stream.send_all(data)
    if scope.cancelled_caught:
        raise trio.BrokenResourceError("the client takes nothing")
