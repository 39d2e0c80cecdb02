"""A relay process: `python -m kled_coord.relay.splicer FD`, started by `relay/process.py`.

It joins sockets that it is handed and knows nothing else: no policy, no tokens, no store. A bare
epoll loop over a handful of modules, because a keystroke goes through here twice and finds the
caches cold: measured 50 microseconds a round trip, where a Trio relay took 155 beside a busy SSH
session (docs/adr/0004-relay-process.md). Load on the API, its restart or its crash neither slow
nor cut a stream: when the coordinator is gone the streams are served to their end.

Fair: in each round those that move little go first, then one bulk stream takes one step, so a
keystroke waits for one step at most. Where bandwidth is limited, streams wait for their turn.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Final

from kled_coord.relay import handover
from kled_coord.relay.bandwidth import Bucket, Buckets, Turns
from kled_coord.relay.handover import Ended
from kled_coord.relay.pair import Pair

# How often traffic is reported and the limits on idle streams are looked at.
TICK_S: Final = 1.0
# A stream that moves more than this in a tick is bulk. No terminal is read that fast.
_BULK_BYTES: Final = 1024 * 1024
_GONE: Final = select.EPOLLHUP | select.EPOLLERR
# A client's socket and an agent's.
_ENDS: Final = 2
# In the place of a mask: not registered, because epoll reports a dead socket whatever the mask.
_PARKED: Final = -1


class Stream:
    """One pair with its limits. Times are time.monotonic() seconds."""

    __slots__ = (
        "active_at",
        "buckets",
        "bulk",
        "gone",
        "idle_s",
        "masks",
        "number",
        "pair",
        "reported",
        "served",
        "shares",
        "until",
    )

    def __init__(self, opened: handover.Open, pair: Pair, now: float) -> None:
        self.number = opened.id
        self.pair = pair
        self.idle_s = opened.idle_s
        self.until = now + opened.absolute_s if opened.absolute_s else float("inf")
        self.active_at = now
        self.reported = (0, 0)
        self.masks: dict[int, int] = {}
        # By descriptor: what bytes out of it have to wait for; and those epoll has called dead.
        self.shares = opened.shares
        self.buckets: dict[int, tuple[Bucket, ...]] = {}
        self.gone: set[int] = set()
        # Whether it was bulk in the last tick, and the last round in which it had its step.
        self.bulk = False
        self.served = 0

    def is_bulk(self) -> bool:
        """Whether others go first."""
        if self.bulk:
            return True
        to_agent, to_client = self.reported
        moved = self.pair.to_agent.moved + self.pair.to_client.moved
        return moved - to_agent - to_client > _BULK_BYTES


class Splicer:
    """The loop. `control` is the socket to the coordinator."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._epoll = select.epoll()
        self._epoll.register(control, select.EPOLLIN)
        self._by_descriptor: dict[int, Stream] = {}
        self._streams: dict[int, Stream] = {}
        self._rounds = 0
        # Whoever waits for its buckets, with the events that it waits with.
        self._buckets = Buckets()
        self._turns: Turns[int] = Turns()
        self._waiting: dict[int, int] = {}
        self._orphaned = False
        self._unheard = False
        self._stopped = False

    def run(self) -> None:
        """Serve until told to stop, or until orphaned and out of streams."""
        tick_at = time.monotonic() + TICK_S
        while not self._stopped and not (self._orphaned and not self._streams):
            self._round(self._epoll.poll(self._timeout(tick_at)))
            if (now := time.monotonic()) >= tick_at:
                tick_at = now + TICK_S
                self._tick(now)
        for stream in list(self._streams.values()):
            self._end(stream, Ended.STOPPED)

    def _timeout(self, tick_at: float) -> float | None:
        if not self._streams:
            return None
        until = min(tick_at, self._turns.ready_at()) if self._waiting else tick_at
        return max(0.0, until - time.monotonic())

    def _round(self, ready: list[tuple[int, int]]) -> None:
        bulk: list[tuple[Stream, int, int]] = []
        told = False
        for descriptor, events in ready:
            stream = self._by_descriptor.get(descriptor)
            if stream is None:
                # Or else it was closed in this round.
                told = told or descriptor == self._control.fileno()
            elif len(ready) > 1 and stream.is_bulk():
                bulk.append((stream, descriptor, events))
            else:
                self._step(stream, descriptor, events)
        if bulk:
            self._step_bulk(bulk)
        if self._waiting:
            self._serve_turns(time.monotonic())
        if told:
            # Last: a new stream may get a descriptor that was closed in this round, and what epoll
            # said of the old one, its death for instance, would be taken for the new one's.
            self._receive()

    def _step_bulk(self, ready: list[tuple[Stream, int, int]]) -> None:
        """A step of the stream that has waited longest; epoll reports the others again."""
        first = min((stream for stream, _, _ in ready), key=lambda stream: stream.served)
        self._rounds += 1
        first.served = self._rounds
        for stream, descriptor, events in ready:
            if stream is first and descriptor in self._by_descriptor:
                self._step(stream, descriptor, events)

    def _step(self, stream: Stream, descriptor: int, events: int) -> None:
        if events & _GONE:
            stream.gone.add(descriptor)
        if stream.buckets:
            events = self._defer(stream, descriptor, events)
        try:
            stream.pair.step(descriptor, events)
        except OSError:
            self._end(stream, Ended.BROKEN)
        else:
            self._settle(stream)

    def _defer(self, stream: Stream, descriptor: int, events: int) -> int:
        """Have what is to be read wait for its turn; what may be done at once."""
        source = stream.pair.out_of(descriptor)
        if events & ~select.EPOLLOUT and not source.held and not source.done:
            self._waiting[descriptor] = events & ~select.EPOLLOUT
            self._turns.wait(descriptor, stream.buckets[descriptor], time.monotonic())
            events &= select.EPOLLOUT
        return events

    def _serve_turns(self, now: float) -> None:
        for descriptor in self._turns.due(now):
            most = self._turns.amount(descriptor, now)
            if not most:
                continue
            stream = self._by_descriptor[descriptor]
            source = stream.pair.out_of(descriptor)
            before = source.taken
            try:
                stream.pair.step(descriptor, self._waiting.pop(descriptor), most)
            except OSError:
                self._end(stream, Ended.BROKEN)
                continue
            self._turns.end(descriptor, source.taken - before, now)
            self._settle(stream)

    def _settle(self, stream: Stream) -> None:
        """After a step: over, or tell epoll what changed; in the steady state that is nothing."""
        if stream.pair.done:
            self._end(stream, Ended.CLOSED)
            return
        for descriptor, mask in stream.masks.items():
            wanted = stream.pair.interest(descriptor)
            if stream.gone or stream.buckets:
                wanted = self._limited(stream, descriptor, wanted)
            if wanted == mask:
                continue
            stream.masks[descriptor] = wanted
            if wanted == _PARKED:
                self._epoll.unregister(descriptor)
            elif mask == _PARKED:
                self._epoll.register(descriptor, wanted)
            else:
                self._epoll.modify(descriptor, wanted)

    def _limited(self, stream: Stream, descriptor: int, wanted: int) -> int:
        waits = descriptor in self._waiting
        if descriptor in stream.gone and (waits or stream.pair.out_of(descriptor).held):
            return _PARKED
        return wanted & ~select.EPOLLIN if waits else wanted

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, handover.PACKET_MAX, _ENDS)
        except (BlockingIOError, ConnectionResetError):
            return  # a reset is reported once, before what was sent ahead of it: Stop, or the end
        if not data:
            self._orphaned = True
            self._epoll.unregister(self._control)
            return
        packet = handover.decode(data)
        if isinstance(packet, handover.Open):
            self._open(packet, descriptors)
        elif isinstance(packet, handover.Close):
            if (stream := self._streams.get(packet.id)) is not None:
                self._end(stream, Ended.STOPPED)
        elif isinstance(packet, handover.Stop):
            self._stopped = True

    def _open(self, opened: handover.Open, descriptors: list[int]) -> None:
        now = time.monotonic()
        try:
            pair = _pair(descriptors)
        except OSError:
            self._tell(handover.Done(opened.id, Ended.BROKEN))
            return
        client, agent = pair.client, pair.agent
        stream = Stream(opened, pair, now)
        self._streams[stream.number] = stream
        if opened.shares:
            for end, to_agent in ((client, True), (agent, False)):
                buckets = self._buckets.take(opened.shares, to_agent=to_agent, now=now)
                stream.buckets[end.fileno()] = buckets
        for descriptor in (client.fileno(), agent.fileno()):
            stream.masks[descriptor] = stream.pair.interest(descriptor)
            self._by_descriptor[descriptor] = stream
            self._epoll.register(descriptor, stream.masks[descriptor])

    def _end(self, stream: Stream, reason: Ended) -> None:
        for descriptor, mask in stream.masks.items():
            if mask != _PARKED:
                self._epoll.unregister(descriptor)
            self._turns.forget(descriptor)
            self._waiting.pop(descriptor, None)
            del self._by_descriptor[descriptor]
        del self._streams[stream.number]
        if stream.shares:
            for to_agent in (True, False):
                self._buckets.give_back(stream.shares, to_agent=to_agent, now=time.monotonic())
        self._report(stream)
        stream.pair.close()
        self._tell(handover.Done(stream.number, reason))

    def _tick(self, now: float) -> None:
        for stream in list(self._streams.values()):
            if self._report(stream):
                stream.active_at = now
            if now >= stream.until:
                self._end(stream, Ended.ABSOLUTE_LIMIT)
            elif stream.idle_s and now - stream.active_at >= stream.idle_s:
                self._end(stream, Ended.IDLE_LIMIT)

    def _report(self, stream: Stream) -> bool:
        """Say what has moved since the last time; False when nothing has."""
        moved = (stream.pair.to_agent.moved, stream.pair.to_client.moved)
        stream.bulk = sum(moved) - sum(stream.reported) > _BULK_BYTES
        if moved == stream.reported:
            return False
        to_agent, to_client = (a - b for a, b in zip(moved, stream.reported, strict=True))
        stream.reported = moved
        self._tell(handover.Moved(stream.number, to_agent, to_client))
        return True

    def _tell(self, packet: handover.Moved | handover.Done) -> None:
        """Send, waiting where the coordinator is slow to read; it loses nothing it counts."""
        if self._unheard:
            return
        try:
            while True:
                try:
                    self._control.send(packet.encode())
                    return
                except BlockingIOError:
                    select.select([], [self._control], [], TICK_S)
        except OSError:
            self._unheard = True  # `_receive` sees the end, after what it was last told


def _pair(descriptors: list[int]) -> Pair:
    """The two sockets joined. Raises OSError, and they are closed then.

    Where this process may have no more descriptors, the kernel passes on only some of those sent
    (unix(7), MSG_CTRUNC), or there are none left for pipes. That must cost one stream, not all.
    """
    if len(descriptors) != _ENDS:
        for number in descriptors:
            os.close(number)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    client, agent = (socket.socket(fileno=number) for number in descriptors)
    client.setblocking(False)
    agent.setblocking(False)
    try:
        return Pair(client, agent)
    except OSError:
        client.close()
        agent.close()
        raise


def main() -> None:
    """Serve the control socket whose descriptor is the only argument."""
    # Ctrl-C and a service manager's SIGTERM are the coordinator's to answer, which says Stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    control = socket.socket(fileno=int(sys.argv[1]))
    control.setblocking(False)
    os.set_inheritable(control.fileno(), False)
    Splicer(control).run()


if __name__ == "__main__":
    main()
