"""The agent's resumable streams: their users, and how long each may wait detached."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Never

import trio

from kled_agent.control.grants import Grants
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.errors import ProtocolError
from kled_wire.eventlog import EventLog
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.frames import SECRET_BYTES, New, Resume
from kled_wire.resume.handshake import admit, read_hello, refuse
from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream

# Serves the application's side of a stream to its end.
StreamHandler = Callable[[trio.abc.HalfCloseableStream, messages.Dial, EventLog], Awaitable[None]]

# How often detached streams are looked at.
_SWEEP_S: Final = 15.0
# A stream whose application has ended waits this long for its client to fetch the rest.
_ENDED_S: Final = 600.0
# Streams whose access was ended are remembered, so that their clients are told why.
_FORBIDDEN_MAX: Final = 256
# The kind of stream that may leave the relay.
_DIRECT_KIND: Final = "ssh"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeLimits:
    """Limits on streams that wait for their client: seconds, streams, bytes.

    `vouched_s` is for how long a stream may be on direct paths before its client must come through
    the coordinator again, where the policy is asked.
    """

    detached_s: float = 12 * 3600.0
    vouched_s: float = 3600.0
    detached_max: int = 64
    kept_bytes: int = 256 * 1024 * 1024


@dataclass(slots=True, kw_only=True, eq=False)
class KeptStream:
    """One stream, whatever carries it; `vouched_at` is when the coordinator last let it in.

    It stands on the grant that it began with, and on the one that it was last resumed with.
    """

    stream: ResumableStream
    secret: bytes
    user: str
    grants: list[str]
    kind: str
    vouched_at: float
    log: EventLog
    detached_at: float | None = None
    served: bool = field(default=False)


class Resumption:
    """All resumable streams of this agent. `nursery` holds what serves them."""

    def __init__(
        self,
        nursery: trio.Nursery,
        bounds: ResumeLimits,
        grants: Grants,
        *,
        window_max: int | None = None,
    ) -> None:
        self._nursery = nursery
        self._bounds = bounds
        self._grants = grants
        self._window_max = window_max
        self._kept: dict[bytes, KeptStream] = {}
        self._forbidden: OrderedDict[bytes, None] = OrderedDict()
        self._offer = b""

    def __len__(self) -> int:
        """How many streams there are, attached or not."""
        return len(self._kept)

    async def serve(
        self,
        transport: trio.abc.HalfCloseableStream,
        dial: messages.Dial,
        log: EventLog,
        handler: StreamHandler,
    ) -> None:
        """Serve one transport to its end: it begins a stream or goes on with one."""
        try:
            with trio.fail_after(limits.HELLO_TIMEOUT_S):
                hello, transport = await read_hello(transport)
                if isinstance(hello, New):
                    found = await self._begin(transport, hello, dial, log, handler)
                    position = 0
                else:
                    found, transport = await self._resume(transport, hello, dial, log)
                    position = hello.received
        except (ProtocolError, trio.BrokenResourceError, trio.TooSlowError) as exc:
            log.info("stream_not_begun", reason=str(exc) or "too slow")
            return
        if found is not None:
            found.vouched_at = trio.current_time()
            await self._carry(found, transport, position)

    def offer(self, payload: bytes) -> None:
        """Tell all clients that may come directly where to (`kled_wire/resume/direct/offer.py`).

        Only SSH goes that way: other streams are not encrypted from end to end.
        """
        if payload == self._offer:
            return
        self._offer = payload
        for kept in self._kept.values():
            if kept.kind == _DIRECT_KIND:
                kept.stream.state.offer(payload)
                kept.stream.flush_nowait()

    async def admit_direct(
        self, transport: trio.abc.HalfCloseableStream, resume: Resume
    ) -> tuple[KeptStream, trio.abc.HalfCloseableStream, int]:
        """Let a client prove itself on a transport that the coordinator knows nothing of.

        What may not go on here is challenged like what may, with a secret that nobody knows.
        Raises ProtocolError("proof_wrong").
        """
        kept = self._kept.get(resume.id)
        if kept is not None and (kept.kind != _DIRECT_KIND or self._vouched_until(kept) is None):
            kept = None
        secret = os.urandom(SECRET_BYTES) if kept is None else kept.secret
        received = kept.stream.state.inbox.position if kept else int.from_bytes(os.urandom(2))
        transport = await admit(
            transport, resume, secret=secret, position=received, random_bytes=os.urandom
        )
        if kept is None:
            raise ProtocolError("proof_wrong", "the secret is unknown")
        return kept, transport, resume.received

    async def carry_direct(
        self, kept: KeptStream, transport: trio.abc.HalfCloseableStream, position: int
    ) -> None:
        """Serve such a transport to its end, or until the coordinator must vouch again."""
        kept.log.info("stream_direct")
        with trio.move_on_at(self._vouched_until(kept) or 0.0) as scope:
            await self._carry(kept, transport, position, direct=True)
        if scope.cancelled_caught:
            kept.log.info("stream_sent_back", reason="the coordinator is to vouch for it again")

    def _vouched_until(self, kept: KeptStream) -> float | None:
        """Until when a stream may be on direct paths; None when that is over."""
        until = kept.vouched_at + self._bounds.vouched_s
        return until if trio.current_time() < until else None

    async def _begin(
        self,
        transport: trio.abc.HalfCloseableStream,
        new: New,
        dial: messages.Dial,
        log: EventLog,
        handler: StreamHandler,
    ) -> KeptStream | None:
        if new.id in self._kept:
            await refuse(transport, "stream_exists", "the stream exists already")
            return None
        state = (
            StreamState() if self._window_max is None else StreamState(window_max=self._window_max)
        )
        kept = KeptStream(
            stream=ResumableStream(state),
            secret=new.secret,
            user=dial.user,
            grants=[dial.grant, dial.grant],
            kind=dial.kind,
            vouched_at=trio.current_time(),
            log=log,
        )
        if dial.kind == _DIRECT_KIND and self._offer:
            state.offer(self._offer)
        self._kept[new.id] = kept
        self._nursery.start_soon(self._serve_application, new.id, kept, dial, handler)
        return kept

    async def _resume(
        self,
        transport: trio.abc.HalfCloseableStream,
        resume: Resume,
        dial: messages.Dial,
        log: EventLog,
    ) -> tuple[KeptStream | None, trio.abc.HalfCloseableStream]:
        if resume.id in self._forbidden:
            log.info("resume_refused", reason="access ended")
            await refuse(transport, "access_ended", "the access that opened the stream has ended")
            return None, transport
        kept = self._kept.get(resume.id)
        if kept is None:
            log.info("resume_refused", reason="unknown")
            await refuse(
                transport, "unknown_stream", "the agent was restarted, or the stream has ended"
            )
            return None, transport
        if kept.user != dial.user:
            log.warning("resume_refused", reason="another user's")
            await refuse(transport, "wrong_user", "the stream belongs to another user")
            return None, transport
        transport = await admit(
            transport,
            resume,
            secret=kept.secret,
            position=kept.stream.state.inbox.position,
            random_bytes=os.urandom,
        )
        kept.grants[1] = dial.grant
        kept.log.info("stream_resumed", replayed=kept.stream.state.outbox.unacked)
        return kept, transport

    async def _carry(
        self,
        kept: KeptStream,
        transport: trio.abc.HalfCloseableStream,
        position: int,
        *,
        direct: bool = False,
    ) -> None:
        kept.detached_at = None
        try:
            with self._grants.held(kept.grants):
                await kept.stream.run_transport(transport, position, direct=direct)
        except (TransportLost, ProtocolError) as exc:
            kept.log.info("stream_detached", reason=str(exc))
        finally:
            if not kept.stream.attached:
                kept.detached_at = trio.current_time()

    async def _serve_application(
        self, name: bytes, kept: KeptStream, dial: messages.Dial, handler: StreamHandler
    ) -> None:
        with self._grants.held(kept.grants) as access:
            try:
                await handler(kept.stream, dial, kept.log)
            except trio.BrokenResourceError as exc:
                kept.log.info("stream_ended", reason=str(exc))
            finally:
                kept.served = True
                kept.stream.reset("closed", "closed")
            with trio.move_on_after(_ENDED_S):
                await kept.stream.wait_over()
        if access.cancelled_caught:
            kept.log.info("stream_ended", reason="access ended")
            self._forbid(name)
        del self._kept[name]

    def _forbid(self, name: bytes) -> None:
        self._forbidden[name] = None
        while len(self._forbidden) > _FORBIDDEN_MAX:
            self._forbidden.popitem(last=False)

    async def sweep(self) -> Never:
        """End streams that have waited too long, or are too many, until cancelled."""
        while True:
            await trio.sleep(_SWEEP_S)
            self.enforce_limits(trio.current_time())

    def enforce_limits(self, now: float) -> None:
        """End what is over the limits at `now`: the longest detached first."""
        waiting = sorted(
            (k for k in self._kept.values() if k.detached_at is not None and not k.served),
            key=lambda k: k.detached_at or 0.0,
        )
        bounds = self._bounds
        kept_bytes = sum(k.stream.state.outbox.unacked for k in self._kept.values())
        for index, kept in enumerate(waiting):
            assert kept.detached_at is not None
            waited_s = now - kept.detached_at
            if waited_s >= bounds.detached_s:
                reason = f"detached for {waited_s:.0f} s"
            elif len(waiting) - index > bounds.detached_max:
                reason = f"more than {bounds.detached_max} streams were waiting"
            elif kept_bytes > bounds.kept_bytes:
                reason = "the memory for waiting streams was used up"
            else:
                continue
            kept_bytes -= kept.stream.state.outbox.unacked
            kept.log.info("stream_ended", reason=reason)
            kept.stream.reset("detached_limit", reason)
