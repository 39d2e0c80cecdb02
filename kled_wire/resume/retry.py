"""Decides when a resumable stream redials, and what ends it for good. Shared by both clients.

No clock and no I/O: `redial.py` waits under Trio, `kled_client/stream/resume.py` with poll(2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kled_wire.backoff import Backoff, Pace, Redials
from kled_wire.errors import (
    ForbiddenError,
    KledError,
    NotFoundError,
    ProtocolError,
    UnauthenticatedError,
)

BACKOFF: Final = Backoff(first_s=0.05, cap_s=10.0)
# Ways that break all the time, and bring something each time, are dialled again at once so often.
PACE: Final = Pace(burst=60, every_s=1.0)
_FINAL: Final = (UnauthenticatedError, ForbiddenError, NotFoundError, ProtocolError)
# The workspace was stopped on purpose: what was open in it is gone, and no wait brings it back.
WORKSPACE_STOPPED: Final = "workspace_stopped"
_FINAL_CODES: Final = frozenset(
    {
        "unknown_stream",
        "wrong_user",
        "detached_limit",
        "access_ended",
        "agent_ended",
        WORKSPACE_STOPPED,
    }
)

# Faults of one connection, not of the stream: a head that was cut off or came too late, as from a
# client that was suspended between connecting and asking, or an answer that a portal made up.
_PASSING_CODES: Final = frozenset(
    {"head_timeout", "head_incomplete", "head_malformed", "head_too_large"}
)


def make_redials(random: Callable[[], float]) -> Redials:
    """The dials of one stream: at most 120 in any minute, one a second in the long run.

    A transport was let in when the agent has proven itself on it, or when the stream got on.
    """
    return Redials(BACKOFF, PACE, random, spread_s=BACKOFF.first_s)


def is_final(error: KledError, *, begun: bool) -> bool:
    """Whether no later attempt can change `error`: a person must act, or the stream is gone.

    A stream that has not `begun` has nothing to lose: its first error is its last.
    """
    if begun and error.code in _PASSING_CODES:
        return False
    return not begun or isinstance(error, _FINAL) or error.code in _FINAL_CODES
