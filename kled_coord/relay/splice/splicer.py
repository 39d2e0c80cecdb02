"""A relay process: `python -m kled_coord.relay.splice.splicer FD`, started by `process.py`.

It joins sockets that it is handed and knows nothing else: no policy, no tokens, no store. Load on
the API, its restart or its crash neither slow nor cut a stream. Measured beside a busy SSH session:
50 microseconds a round trip, where a relay of Trio tasks took 155 (docs/adr/0004-relay-process.md).

Where bandwidth is limited, streams wait for their turn.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from typing import Final

from kled_coord.relay.splice import handover
from kled_coord.relay.splice.bandwidth import Bucket, Buckets, FairQueue
from kled_coord.relay.splice.handover import EndReason
from kled_coord.relay.splice.pair import Pair
from kled_coord.sidecars.loop import BULK_BYTES, Loop, Task, open_control, take_sockets

# How often traffic is reported and the limits on idle streams are looked at.
TICK_S: Final = 1.0


class Stream(Task):
    """One pair with its limits. Times are time.monotonic() seconds."""

    __slots__ = (
        "active_at",
        "buckets",
        "bulk",
        "idle_s",
        "number",
        "pair",
        "reported",
        "shares",
        "until",
    )

    def __init__(self, opened: handover.Open, pair: Pair, now: float) -> None:
        super().__init__()
        self.number = opened.id
        self.pair = pair
        self.idle_s = opened.idle_s
        self.until = now + opened.absolute_s if opened.absolute_s else float("inf")
        self.active_at = now
        self.reported = (0, 0)
        self.shares = opened.shares
        # By descriptor: what bytes out of it have to wait for.
        self.buckets: dict[int, tuple[Bucket, ...]] = {}
        # Whether it was bulk in the last tick.
        self.bulk = False

    def is_bulk(self, now: float) -> bool:  # noqa: ARG002 - the tick looks at the time
        """Whether others go first."""
        if self.bulk:
            return True
        to_agent, to_client = self.reported
        moved = self.pair.to_agent.moved + self.pair.to_client.moved
        return moved - to_agent - to_client > BULK_BYTES


class Splicer(Loop[Stream]):
    """The loop."""

    def __init__(self, control: socket.socket) -> None:
        super().__init__(control, handover.PACKET_MAX)
        self._streams: dict[int, Stream] = {}
        # Whoever waits for its buckets, with the events that it waits with.
        self._buckets = Buckets()
        self._fair_queue: FairQueue[int] = FairQueue()
        self._waiting: dict[int, int] = {}
        self._unheard = False

    def run(self) -> None:
        """Serve until told to stop, or until orphaned and out of streams."""
        tick_at = time.monotonic() + TICK_S
        while not self.over:
            self.serve_ready(self.epoll.poll(self._timeout(tick_at)), time.monotonic())
            if (now := time.monotonic()) >= tick_at:
                tick_at = now + TICK_S
                self._tick(now)
        for stream in list(self._streams.values()):
            self._end(stream, EndReason.STOPPED)

    def _timeout(self, tick_at: float) -> float | None:
        if not self._streams:
            return None
        until = min(tick_at, self._fair_queue.ready_at()) if self._waiting else tick_at
        return max(0.0, until - time.monotonic())

    def step(self, task: Stream, descriptor: int, events: int) -> None:
        if task.buckets:
            events = self._defer(task, descriptor, events)
        try:
            task.pair.step(descriptor, events)
        except OSError:
            self._end(task, EndReason.BROKEN)
        else:
            self._settle(task)

    def between(self, now: float) -> None:
        if self._waiting:
            self._serve_turns(now)

    def _defer(self, stream: Stream, descriptor: int, events: int) -> int:
        """Have what is to be read wait for its turn; what may be done at once."""
        source = stream.pair.out_of(descriptor)
        if events & ~select.EPOLLOUT and not source.held and not source.done:
            self._waiting[descriptor] = events & ~select.EPOLLOUT
            self._fair_queue.wait(descriptor, stream.buckets[descriptor], time.monotonic())
            events &= select.EPOLLOUT
        return events

    def _serve_turns(self, now: float) -> None:
        for descriptor in self._fair_queue.due(now):
            most = self._fair_queue.amount(descriptor, now)
            if not most:
                continue
            stream = self.by_descriptor[descriptor]
            source = stream.pair.out_of(descriptor)
            before = source.taken
            try:
                stream.pair.step(descriptor, self._waiting.pop(descriptor), most)
            except OSError:
                self._end(stream, EndReason.BROKEN)
                continue
            self._fair_queue.end(descriptor, source.taken - before, now)
            self._settle(stream)

    def _settle(self, stream: Stream) -> None:
        """After a step: over, or tell epoll what changed; in the steady state that is nothing."""
        if stream.pair.done:
            self._end(stream, EndReason.CLOSED)
            return
        for descriptor in stream.masks:
            wanted = stream.pair.interest(descriptor)
            park = False
            if stream.gone or stream.buckets:
                waits = descriptor in self._waiting
                held = stream.pair.out_of(descriptor).held
                park = descriptor in stream.gone and (waits or bool(held))
                wanted = wanted & ~select.EPOLLIN if waits else wanted
            self.watch(stream, descriptor, wanted, park=park)

    def heard(self, packet: bytes, descriptors: list[int]) -> None:
        said = handover.decode(packet)
        if isinstance(said, handover.Open):
            self._open(said, descriptors)
        elif isinstance(said, handover.Close):
            if (stream := self._streams.get(said.id)) is not None:
                self._end(stream, EndReason.STOPPED)
        elif isinstance(said, handover.StopRelay):
            self.stopped = True

    def _open(self, opened: handover.Open, descriptors: list[int]) -> None:
        now = time.monotonic()
        try:
            pair = _pair(descriptors)
        except OSError:
            self._tell(handover.StreamDone(opened.id, EndReason.BROKEN))
            return
        client, agent = pair.client, pair.agent
        stream = Stream(opened, pair, now)
        self._streams[stream.number] = stream
        if opened.shares:
            for end, to_agent in ((client, True), (agent, False)):
                buckets = self._buckets.take(opened.shares, to_agent=to_agent, now=now)
                stream.buckets[end.fileno()] = buckets
        for descriptor in (client.fileno(), agent.fileno()):
            self.add(stream, descriptor, stream.pair.interest(descriptor))

    def _end(self, stream: Stream, reason: EndReason) -> None:
        for descriptor in stream.masks:
            self._fair_queue.forget(descriptor)
            self._waiting.pop(descriptor, None)
        self.remove(stream)
        del self._streams[stream.number]
        if stream.shares:
            for to_agent in (True, False):
                self._buckets.give_back(stream.shares, to_agent=to_agent, now=time.monotonic())
        self._report(stream)
        stream.pair.close()
        self._tell(handover.StreamDone(stream.number, reason))

    def _tick(self, now: float) -> None:
        for stream in list(self._streams.values()):
            if self._report(stream):
                stream.active_at = now
            if now >= stream.until:
                self._end(stream, EndReason.ABSOLUTE_LIMIT)
            elif stream.idle_s and now - stream.active_at >= stream.idle_s:
                self._end(stream, EndReason.IDLE_LIMIT)

    def _report(self, stream: Stream) -> bool:
        """Say what has moved since the last time; False when nothing has."""
        moved = (stream.pair.to_agent.moved, stream.pair.to_client.moved)
        stream.bulk = sum(moved) - sum(stream.reported) > BULK_BYTES
        if moved == stream.reported:
            return False
        to_agent, to_client = (a - b for a, b in zip(moved, stream.reported, strict=True))
        stream.reported = moved
        self._tell(handover.Moved(stream.number, to_agent, to_client))
        return True

    def _tell(self, packet: handover.Moved | handover.StreamDone) -> None:
        """Send, waiting where the coordinator is slow to read; it loses nothing it counts."""
        if self._unheard:
            return
        try:
            while True:
                try:
                    self.control.send(packet.encode())
                    return
                except BlockingIOError:
                    select.select([], [self.control], [], TICK_S)
        except OSError:
            self._unheard = True  # `_receive` sees the end, after what it was last told


def _pair(descriptors: list[int]) -> Pair:
    """The two sockets joined. Raises OSError, and they are closed then."""
    client, agent = take_sockets(descriptors)
    try:
        return Pair(client, agent)
    except OSError:
        client.close()
        agent.close()
        raise


def main() -> None:
    """Serve the control socket whose descriptor is the only argument."""
    Splicer(open_control(sys.argv[1])).run()


if __name__ == "__main__":
    main()
