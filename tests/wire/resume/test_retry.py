"""What ends a resumable stream for good."""

from __future__ import annotations

import pytest

from kled_wire.errors import KledError, ProtocolError, UnauthenticatedError, UnavailableError
from kled_wire.resume.retry import is_final

AWAY = UnavailableError("coordinator_unreachable", "no route")


def test_a_way_that_is_gone_for_now_is_tried_again() -> None:
    assert not is_final(AWAY, begun=True)


def test_a_stream_that_has_not_begun_ends_with_its_first_error() -> None:
    assert is_final(AWAY, begun=False)


@pytest.mark.parametrize("code", ["head_timeout", "head_incomplete", "head_malformed"])
def test_one_connection_that_went_wrong_is_not_the_end(code: str) -> None:
    """A client that was suspended after it had connected is told that its request came late."""
    assert not is_final(ProtocolError(code, "too late"), begun=True)


@pytest.mark.parametrize(
    "error",
    [
        UnauthenticatedError("token_expired", "expired"),
        UnavailableError("unknown_stream", "the agent was restarted"),
        UnavailableError("wrong_user", "another user's"),
        UnavailableError("workspace_stopped", "the workspace was stopped on purpose"),
        UnavailableError("agent_ended", "the process that had the stream is no more"),
        ProtocolError("offset_gone", "forgotten"),
    ],
)
def test_what_no_attempt_can_change_is_final(error: KledError) -> None:
    assert is_final(error, begun=True)
