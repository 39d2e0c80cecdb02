"""The queues between an endpoint's two threads: requests in, blocks out."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Final, Generic, TypeVar

from kled_sync.wire.blocks import MAGIC, OutgoingBlock, Packer, pack_message
from kled_sync.wire.codec import encode_message
from kled_sync.wire.compression import CompressionWorth
from kled_sync.wire.messages import Message
from kled_wire.errors import LimitError

T = TypeVar("T")
# A session has a few requests under way; one that has so many is none of ours.
_WAITING_MAX: Final = 20_000


class ThreadQueue(Generic[T]):
    """A queue between two threads: the reader waits for `descriptor` to be readable."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: deque[T] = deque()
        self.descriptor, self._wake = os.pipe()
        os.set_blocking(self.descriptor, False)
        self._closed = False

    def close(self) -> None:
        """Take no more; what is put from now on is lost."""
        with self._lock:
            self._items.clear()
            self._closed = True
            os.close(self.descriptor)
            os.close(self._wake)

    def put(self, item: T) -> None:
        """Raises LimitError("sync_too_many_requests")."""
        with self._lock:
            if len(self._items) >= _WAITING_MAX:
                raise LimitError("sync_too_many_requests", f"{_WAITING_MAX} requests wait")
            if self._closed:
                return
            self._items.append(item)
            if len(self._items) == 1:
                os.write(self._wake, b"\0")

    def take(self) -> list[T]:
        """All that is there."""
        with self._lock:
            items = list(self._items)
            self._items.clear()
            if items:
                os.read(self.descriptor, 16)
        return items


class BlockSender:
    """Sends blocks to the session; blocks while the session does not read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._packer = Packer()
        self.worth = CompressionWorth()

    def greet(self) -> None:
        self._write(MAGIC)

    def send(self, message: Message) -> None:
        """Raises OSError where nobody reads any more."""
        with self._lock:
            self._write(pack_message(self._packer, encode_message(message)))

    def send_block(self, block: OutgoingBlock, began: float) -> None:
        """`began`: when its sender began with it, by the monotonic clock. Raises OSError."""
        waits = time.monotonic()
        parts = [block.head, *block.parts]
        size = sum(map(len, parts))
        with self._lock:
            written = os.writev(self._descriptor, parts)
            if written < size:
                self._write(b"".join(parts)[written:])
        if block.weighed_bytes:
            now = time.monotonic()
            self.worth.sent(block.weighed_bytes, size, waited_s=now - waits, taken_s=now - began)

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
