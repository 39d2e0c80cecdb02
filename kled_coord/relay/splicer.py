"""A relay process: `python -m kled_coord.relay.splicer FD`, started by `relay/process.py`.

It joins sockets that it is handed and knows nothing else: no policy, no tokens, no store. A bare
epoll loop over a handful of modules, because a keystroke goes through here twice and finds the
caches cold: measured 50 microseconds a round trip, where a Trio relay took 155 beside a busy SSH
session (docs/adr/0004-relay-process.md). Load on the API, its restart or its crash neither slow
nor cut a stream: when the coordinator is gone the streams are served to their end.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Final

from kled_coord.relay import handover
from kled_coord.relay.handover import Ended
from kled_coord.relay.pair import Pair

# How often traffic is reported and the limits on idle streams are looked at.
TICK_S: Final = 1.0


class Stream:
    """One pair with its limits. Times are time.monotonic() seconds."""

    __slots__ = ("active_at", "idle_s", "masks", "number", "pair", "reported", "until")

    def __init__(self, opened: handover.Open, pair: Pair, now: float) -> None:
        self.number = opened.id
        self.pair = pair
        self.idle_s = opened.idle_s
        self.until = now + opened.absolute_s if opened.absolute_s else float("inf")
        self.active_at = now
        self.reported = (0, 0)
        self.masks: dict[int, int] = {}


class Splicer:
    """The loop. `control` is the socket to the coordinator."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._epoll = select.epoll()
        self._epoll.register(control, select.EPOLLIN)
        self._by_descriptor: dict[int, Stream] = {}
        self._streams: dict[int, Stream] = {}
        self._orphaned = False
        self._stopped = False

    def run(self) -> None:
        """Serve until told to stop, or until orphaned and out of streams."""
        tick_at = time.monotonic() + TICK_S
        while not self._stopped and not (self._orphaned and not self._streams):
            timeout = max(0.0, tick_at - time.monotonic()) if self._streams else None
            for descriptor, events in self._epoll.poll(timeout):
                stream = self._by_descriptor.get(descriptor)
                if stream is not None:
                    self._step(stream, descriptor, events)
                elif descriptor == self._control.fileno():
                    self._receive()
            if (now := time.monotonic()) >= tick_at:
                tick_at = now + TICK_S
                self._tick(now)
        for stream in list(self._streams.values()):
            self._end(stream, Ended.STOPPED)

    def _step(self, stream: Stream, descriptor: int, events: int) -> None:
        try:
            stream.pair.step(descriptor, events)
        except OSError:
            self._end(stream, Ended.BROKEN)
            return
        if stream.pair.done:
            self._end(stream, Ended.CLOSED)
        else:
            self._watch(stream)

    def _watch(self, stream: Stream) -> None:
        """Tell epoll what changed; in the steady state that is nothing."""
        for descriptor, mask in stream.masks.items():
            wanted = stream.pair.interest(descriptor)
            if wanted != mask:
                self._epoll.modify(descriptor, wanted)
                stream.masks[descriptor] = wanted

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, handover.PACKET_MAX, 2)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
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
        sockets = [socket.socket(fileno=number) for number in descriptors]
        for end in sockets:
            end.setblocking(False)
        client, agent = sockets
        stream = Stream(opened, Pair(client, agent), time.monotonic())
        self._streams[stream.number] = stream
        for descriptor in (client.fileno(), agent.fileno()):
            stream.masks[descriptor] = stream.pair.interest(descriptor)
            self._by_descriptor[descriptor] = stream
            self._epoll.register(descriptor, stream.masks[descriptor])

    def _end(self, stream: Stream, reason: Ended) -> None:
        for descriptor in stream.masks:
            self._epoll.unregister(descriptor)
            del self._by_descriptor[descriptor]
        del self._streams[stream.number]
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
        if moved == stream.reported:
            return False
        to_agent, to_client = (a - b for a, b in zip(moved, stream.reported, strict=True))
        stream.reported = moved
        self._tell(handover.Moved(stream.number, to_agent, to_client))
        return True

    def _tell(self, packet: handover.Moved | handover.Done) -> None:
        """Send, waiting where the coordinator is slow to read; it loses nothing it counts."""
        if self._orphaned:
            return
        try:
            while True:
                try:
                    self._control.send(packet.encode())
                    return
                except BlockingIOError:
                    select.select([], [self._control], [], TICK_S)
        except OSError:
            self._orphaned = True
            self._epoll.unregister(self._control)


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
