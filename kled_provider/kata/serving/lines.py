"""One JSON object a line: what root's service and the worker say to each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import trio

from kled_provider.host import HostError

MAX_LINE_BYTES: Final = 8 << 20
_READ_BYTES: Final = 64 << 10


class LineStream:
    """Sends and receives objects over a stream. One task sends, one receives."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._rest = bytearray()

    async def send(self, value: Mapping[str, Any]) -> None:
        """Send an object. Raises trio.BrokenResourceError."""
        await self.stream.send_all(json.dumps(value).encode() + b"\n")

    async def receive(self) -> dict[str, Any] | None:
        """Return the next object; None at the end. Raises HostError for what is none."""
        while (end := self._rest.find(b"\n")) < 0:
            if len(self._rest) > MAX_LINE_BYTES:
                raise HostError("a line of the provider's service is too long")
            try:
                data = await self.stream.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self._rest += data
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise HostError(f"a line of the provider's service is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise HostError("a line of the provider's service is no object")
        return found
