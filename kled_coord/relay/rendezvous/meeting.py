"""The meeting point of a stream's two transports."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from kled_wire.errors import KledError
from kled_wire.names import AgentId


@dataclass(slots=True, kw_only=True, eq=False)
class Meeting:
    """An agent's connection that is awaited. `over` lets the agent's side close it.

    A `standby` connection waits for a client; `watch` ends that wait when it is `taken`.
    """

    agent_id: AgentId
    ticket: str = ""
    standby: bool = False
    arrived: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    watch: trio.CancelScope = field(default_factory=trio.CancelScope)
    taken: bool = False
    stream: trio.abc.HalfCloseableStream | None = None
    failure: KledError | None = None
