"""The policy function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.policy.actions import READING, Action, ActionTarget
from kled_coord.policy.decide import Caller, decide, require
from kled_coord.policy.roles import ROLES, SCOPES, Role
from kled_wire.errors import ForbiddenError, NotFoundError
from kled_wire.names import UserId

ME = UserId("usr_me")


def caller(role: Role, *scopes: str) -> Caller:
    return Caller(
        user_id=ME, user_name="me", role=role, scopes=scopes or ("all",), token_id="tok_1"
    )


def workspace(owner: str) -> ActionTarget:
    return ActionTarget(kind="workspace", name="dev", owner_id=owner)


def test_a_member_does_anything_with_their_own_workspace() -> None:
    for action in Action:
        if action.value.startswith("workspace."):
            assert decide(caller(Role.MEMBER), action, workspace(ME)).allowed


def test_a_foreign_workspace_is_hidden_from_a_member() -> None:
    with pytest.raises(NotFoundError) as caught:
        require(caller(Role.MEMBER), Action.WORKSPACE_READ, workspace("usr_other"))
    assert caught.value.code == "workspace_not_found"


def test_an_admin_stops_a_foreign_workspace_but_does_not_enter_it() -> None:
    assert decide(caller(Role.ADMIN), Action.WORKSPACE_STOP, workspace("usr_other")).allowed
    with pytest.raises(ForbiddenError):
        require(caller(Role.ADMIN), Action.WORKSPACE_SSH, workspace("usr_other"))


def test_only_an_owner_manages_owners() -> None:
    allowed = {r for r in Role if Action.USER_MANAGE_OWNER in ROLES[r].anywhere}
    assert allowed == {Role.OWNER}


def test_an_auditor_changes_nothing_of_others() -> None:
    for action in Action:
        allowed = decide(caller(Role.AUDITOR), action, workspace("usr_other")).allowed
        assert allowed == (action in READING)


def test_a_read_token_of_an_owner_starts_nothing() -> None:
    with pytest.raises(ForbiddenError, match="scope"):
        require(caller(Role.OWNER, "read"), Action.WORKSPACE_START, workspace(ME))


@given(
    role=st.sampled_from(Role),
    action=st.sampled_from(Action),
    scopes=st.lists(st.sampled_from(sorted(SCOPES)), max_size=3),
    owner=st.sampled_from([ME, "usr_other", None]),
)
def test_a_scope_never_adds_to_a_role(role, action, scopes, owner) -> None:
    resource = ActionTarget(kind="workspace", name="dev", owner_id=owner)
    narrow = decide(caller(role, *(scopes or ["nonsense"])), action, resource)
    assert not narrow.allowed or decide(caller(role), action, resource).allowed
    if narrow.hidden:
        assert not narrow.allowed
