"""containerd's service Content: blobs by their digest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import trio

from kled_provider.containerd.caller import ContainerdCaller, ContainerdError
from kled_provider.containerd.types import decode_map, encode_map, encode_texts
from kled_provider.grpc import protobuf
from kled_provider.grpc.client import ClientCall
from kled_provider.grpc.status import GrpcError, GrpcStatus

_SERVICE = "/containerd.services.content.v1.Content/"
_STAT, _WRITE, _COMMIT = 0, 1, 2
# The words of containerd's error when another write has the name (plugins/content/local/locks.go).
_LOCKED = " locked for "
_LOCKED_S = 0.1
# The limit of a document that is read into memory: a manifest or a configuration. A registry's
# limit for one is 4 MiB.
MAX_DOCUMENT_BYTES = 8 << 20


class Content:
    """The content store. All methods raise ContainerdError."""

    def __init__(self, caller: ContainerdCaller) -> None:
        self._caller = caller

    async def labels(self, digest: str) -> dict[str, str] | None:
        """Return the labels of a blob; None where it is not there."""
        reply = await self._caller.call_if_there(f"{_SERVICE}Info", protobuf.text(1, digest))
        if reply is None:
            return None
        return decode_map(protobuf.decode(protobuf.decode(reply).blob(1)), 5)

    async def set_labels(self, digest: str, labels: Mapping[str, str]) -> None:
        """Set these labels of a blob, and leave its others."""
        info = protobuf.text(1, digest) + encode_map(5, labels)
        mask = encode_texts(1, (f"labels.{name}" for name in labels))
        await self._caller.call(
            f"{_SERVICE}Update", protobuf.message(1, info) + protobuf.message(2, mask)
        )

    async def read(self, digest: str) -> bytes:
        """Read a small blob into memory."""
        found = bytearray()
        async with self._caller.open_call(f"{_SERVICE}Read") as call:
            await call.send(protobuf.text(1, digest), is_last=True)
            while (reply := await call.receive()) is not None:
                found += protobuf.decode(reply).blob(2)
                if len(found) > MAX_DOCUMENT_BYTES:
                    text = f"the blob {digest} is over {MAX_DOCUMENT_BYTES >> 20} MiB"
                    raise ContainerdError(GrpcStatus.RESOURCE_EXHAUSTED, text)
        return bytes(found)

    async def delete(self, digest: str) -> None:
        """Remove a blob; one that is gone is no error."""
        await self._caller.call_if_there(f"{_SERVICE}Delete", protobuf.text(1, digest))

    @asynccontextmanager
    async def open_writer(
        self, ref: str, size: int, digest: str, *, lease: str
    ) -> AsyncIterator[ContentWriter]:
        """Write a blob of `size` bytes under `digest`; `ref` names the write to go on with later.

        Waits as long as another write has that name. Raises a ContainerdError that `is_there`
        where the blob is.
        """
        while True:
            async with self._caller.open_call(f"{_SERVICE}Write", lease=lease) as call:
                writer = ContentWriter(call, ref, size, digest)
                if await writer.begin():
                    yield writer
                    return
            await trio.sleep(_LOCKED_S)  # there is no event that says it is free

    async def abort(self, ref: str) -> None:
        """Throw away what an unfinished write has written; none is no error."""
        await self._caller.call_if_there(f"{_SERVICE}Abort", protobuf.text(1, ref))


class ContentWriter:
    """An open write. `offset` is how much is there, of this write or an earlier one."""

    def __init__(self, call: ClientCall, ref: str, size: int, digest: str) -> None:
        self.offset = 0
        self._call = call
        self._goal = protobuf.integer(3, size) + protobuf.text(4, digest)
        self._ref = protobuf.text(2, ref)

    async def begin(self) -> bool:
        """Ask how much is there already; False where another write has the name by now.

        That is another workspace's pull of the same blob, or one that was cut off, whose end
        containerd has not seen yet.
        """
        try:
            await self._ask(protobuf.integer(1, _STAT) + self._ref + self._goal)
        except GrpcError as error:
            if error.status == GrpcStatus.UNAVAILABLE and _LOCKED in str(error):
                return False
            raise
        return True

    async def write(self, data: bytes) -> None:
        """Add data; at most 1 MiB of it at a time, or the message is too large."""
        offset = protobuf.integer(5, self.offset)
        await self._ask(protobuf.integer(1, _WRITE) + self._ref + offset + protobuf.blob(6, data))

    async def commit(self, labels: Mapping[str, str]) -> None:
        """Finish: the blob is there under its digest. Content of another one is refused."""
        await self._ask(
            protobuf.integer(1, _COMMIT)
            + self._ref
            + self._goal
            + protobuf.integer(5, self.offset)
            + encode_map(7, labels)
        )

    async def _ask(self, request: bytes) -> None:
        await self._call.send(request)
        reply = await self._call.receive()
        if reply is None:
            raise ContainerdError(GrpcStatus.UNKNOWN, "containerd ended a write without a word")
        self.offset = protobuf.decode(reply).integer(4)
