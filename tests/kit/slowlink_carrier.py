"""The process behind `tests.kit.slowlink`: carries packets between two TUN devices, late or never.

Arguments: the two descriptors. Lines on stdin change the conditions, JSON objects of
`Conditions`' fields; each is answered with an empty line once it holds. Ends when stdin does.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import sys
import time
from collections import deque
from dataclasses import dataclass, field, replace

_QUEUE_BYTES = 4 << 20
_PACKET_BYTES = 65536
# Packets read from one side before the other has its turn.
_BURST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the link is like; see `tests.kit.slowlink.slow_link`."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_mbit: float = 0.0
    down: bool = False


@dataclass(kw_only=True)
class Direction:
    """One direction. Packets stay in order."""

    source: int
    target: int
    _queue: deque[tuple[float, bytes]] = field(default_factory=deque)
    _queued_bytes: int = 0
    _sent_at: float = 0.0

    def take(self, now: float, conditions: Conditions) -> None:
        """Read what has set out, and say when each packet arrives."""
        for _ in range(_BURST):
            try:
                packet = os.read(self.source, _PACKET_BYTES)
            except OSError:  # nothing there, or the interface is down
                return
            if conditions.down or random.random() < conditions.loss:
                continue
            if self._queued_bytes > _QUEUE_BYTES:
                continue
            if conditions.rate_mbit:
                seconds = len(packet) * 8 / (conditions.rate_mbit * 1e6)
                self._sent_at = max(now, self._sent_at) + seconds
            else:
                self._sent_at = now
            late_ms = conditions.delay_ms + random.uniform(0, conditions.jitter_ms)
            last = self._queue[-1][0] if self._queue else 0.0
            self._queue.append((max(last, self._sent_at + late_ms / 1000), packet))
            self._queued_bytes += len(packet)

    def deliver(self, now: float) -> None:
        """Write what is due."""
        while self._queue and self._queue[0][0] <= now:
            _, packet = self._queue.popleft()
            self._queued_bytes -= len(packet)
            with contextlib.suppress(OSError):  # lost, as on any other wire
                os.write(self.target, packet)

    def next_at(self) -> float | None:
        """When the next packet is due."""
        return self._queue[0][0] if self._queue else None


def carry(left: int, right: int) -> None:
    """Until stdin ends."""
    conditions = Conditions()
    directions = {
        left: Direction(source=left, target=right),
        right: Direction(source=right, target=left),
    }
    control = sys.stdin.fileno()
    while True:
        times = [at for direction in directions.values() if (at := direction.next_at()) is not None]
        # select: poll and epoll round to milliseconds.
        wait_s = max(0.0, min(times) - time.monotonic()) if times else None
        ready, _, _ = select.select([left, right, control], [], [], wait_s)
        now = time.monotonic()
        for descriptor in ready:
            if descriptor != control:
                directions[descriptor].take(now, conditions)
            elif line := os.read(control, 4096):
                conditions = replace(conditions, **json.loads(line))
                os.write(1, b"\n")
            else:
                return
        for direction in directions.values():
            direction.deliver(time.monotonic())


if __name__ == "__main__":
    carry(int(sys.argv[1]), int(sys.argv[2]))
