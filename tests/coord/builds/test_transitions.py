"""The life of a build and what it makes of its workspace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.builds.transitions import ENDED, TABLE, BuildEvent, BuildStatus, next_status
from kled_coord.workspaces.lifecycle import Transition, workspace_status
from kled_wire.errors import ConflictError


@given(st.sampled_from(sorted(ENDED)), st.sampled_from(BuildEvent))
def test_nothing_happens_to_a_build_that_ended(status, event) -> None:
    with pytest.raises(ConflictError) as caught:
        next_status(status, event)
    assert caught.value.code == "build_not_active"


@given(st.lists(st.sampled_from(BuildEvent)))
def test_any_events_lead_to_a_status_of_the_table(events) -> None:
    status = BuildStatus.PENDING
    for event in events:
        if (status, event) in TABLE:
            status = next_status(status, event)
            assert isinstance(status, BuildStatus)
        else:
            with pytest.raises(ConflictError):
                next_status(status, event)


@given(st.sampled_from(Transition), st.sampled_from(BuildStatus))
def test_a_workspace_is_running_only_after_a_start_succeeded(transition, status) -> None:
    running = workspace_status(transition, status) == "running"
    assert running == (transition is Transition.START and status is BuildStatus.SUCCEEDED)
