"""The epoll loop of a child process: which events wake it, and which are served first.

Standard library only, and no Trio: a keystroke passes these loops and finds the caches cold, so
that what counts is how little code has to be warm (docs/adr/0004-relay-process.md). When the
coordinator is gone, what the process has is served to its end.

Fair: in each round those that move little go first, then one bulk task takes one step, the one that
has waited longest. So a keystroke waits for one step at most.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import socket
from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar

GONE: Final = select.EPOLLHUP | select.EPOLLERR
# A stream that moves more than this in a second is bulk: no terminal is read that fast.
BULK_BYTES: Final = 1024 * 1024
# Stands in place of a mask for a descriptor that is not registered: epoll reports a dead socket
# whatever the mask.
_PARKED: Final = -1


class Task(ABC):
    """Something with sockets in the loop."""

    __slots__ = ("gone", "masks", "turn")

    def __init__(self) -> None:
        # By descriptor: the mask that epoll was given, and the sockets that it reported as dead.
        self.masks: dict[int, int] = {}
        self.gone: set[int] = set()
        # The last round in which it had a turn as bulk.
        self.turn = 0

    @abstractmethod
    def is_bulk(self, now: float) -> bool:
        """Whether others go first."""


T = TypeVar("T", bound=Task)


class Loop(ABC, Generic[T]):
    """The loop. `control` is the socket to the coordinator, whose packets are `packet_max` long.

    Who derives from it sets `stopped` when told to stop, and runs `serve_ready` until it is `over`.
    """

    def __init__(self, control: socket.socket, packet_max: int) -> None:
        self.control = control
        self._packet_max = packet_max
        self.epoll = select.epoll()
        self.epoll.register(control, select.EPOLLIN)
        self.by_descriptor: dict[int, T] = {}
        self._rounds = 0
        self._orphaned = False
        self.stopped = False

    @property
    def over(self) -> bool:
        """Whether we were told to stop, or are left alone and out of work."""
        return self.stopped or (self._orphaned and not self.by_descriptor)

    @abstractmethod
    def step(self, task: T, descriptor: int, events: int) -> None:
        """Do what `events` of epoll(7) allow."""

    @abstractmethod
    def heard(self, packet: bytes, descriptors: list[int]) -> None:
        """The coordinator has said something, and sent descriptors along."""

    def between(self, now: float) -> None:
        """Whatever else there is to do in a round."""

    def serve_ready(self, ready: list[tuple[int, int]], now: float) -> None:
        """One round, with what epoll says is ready."""
        bulk: list[tuple[T, int, int]] = []
        told = False
        for descriptor, events in ready:
            task = self.by_descriptor.get(descriptor)
            if task is None:
                # Or else it was closed in this round.
                told = told or descriptor == self.control.fileno()
            elif len(ready) > 1 and task.is_bulk(now):
                bulk.append((task, descriptor, events))
            else:
                self._step_one(task, descriptor, events)
        if bulk:
            self._step_bulk(bulk)
        self.between(now)
        if told:
            # Last: a new task may get a descriptor that was closed in this round, and what epoll
            # said of the old one, its death for instance, would be taken for the new one's.
            self._receive()

    def _step_bulk(self, ready: list[tuple[T, int, int]]) -> None:
        """A step of the one that has waited longest; epoll reports the others again."""
        first = min((task for task, _, _ in ready), key=lambda task: task.turn)
        self._rounds += 1
        first.turn = self._rounds
        for task, descriptor, events in ready:
            if task is first and descriptor in self.by_descriptor:
                self._step_one(task, descriptor, events)

    def _step_one(self, task: T, descriptor: int, events: int) -> None:
        if events & GONE:
            task.gone.add(descriptor)
        self.step(task, descriptor, events)

    def _receive(self) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self.control, self._packet_max, 2)
        except (BlockingIOError, ConnectionResetError):
            return  # a reset is reported once, before what was sent ahead of it: Stop, or the end
        if packet:
            self.heard(packet, descriptors)
            return
        self._orphaned = True
        self.epoll.unregister(self.control)

    def add(self, task: T, descriptor: int, wanted: int) -> None:
        """Wait for these events of one of the task's sockets."""
        self.by_descriptor[descriptor] = task
        task.masks[descriptor] = wanted
        self.epoll.register(descriptor, wanted)

    def watch(self, task: T, descriptor: int, wanted: int, *, park: bool) -> None:
        """Wait for these events from now on; where `park`, not even for the socket's death."""
        mask = task.masks[descriptor]
        if park:
            wanted = _PARKED
        if wanted == mask:
            return
        task.masks[descriptor] = wanted
        if wanted == _PARKED:
            self.epoll.unregister(descriptor)
        elif mask == _PARKED:
            self.epoll.register(descriptor, wanted)
        else:
            self.epoll.modify(descriptor, wanted)

    def remove(self, task: T) -> None:
        """Wait for none of its sockets any more, before they are closed."""
        for descriptor, mask in task.masks.items():
            if mask != _PARKED:
                self.epoll.unregister(descriptor)
            del self.by_descriptor[descriptor]
        task.masks.clear()


def take_sockets(descriptors: list[int]) -> tuple[socket.socket, socket.socket]:
    """The two that came with a packet, non-blocking. Raises OSError, and they are closed then.

    Where this process may have no more descriptors, the kernel passes on only some of those sent
    (unix(7), MSG_CTRUNC). That must cost one task, not all.
    """
    if len(descriptors) != 2:
        for number in descriptors:
            os.close(number)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    first, second = (socket.socket(fileno=number) for number in descriptors)
    first.setblocking(False)
    second.setblocking(False)
    return first, second


def open_control(number: str) -> socket.socket:
    """Settle down as such a process; the control socket, whose descriptor was an argument."""
    # Ctrl-C and a service manager's SIGTERM are the coordinator's to answer, which says Stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    control = socket.socket(fileno=int(number))
    control.setblocking(False)
    os.set_inheritable(control.fileno(), False)
    return control
