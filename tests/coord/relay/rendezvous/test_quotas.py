"""Limits on open streams."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from kled_coord.relay.rendezvous.quotas import Bandwidth, StreamQuotas
from kled_wire.errors import LimitError


def test_the_users_limit_is_refused_with_its_figure() -> None:
    quotas = StreamQuotas(per_user=2, per_workspace=10)
    with ExitStack() as held:
        for number in range(2):
            held.enter_context(quotas.held(user_id="u", workspace_id=f"w{number}"))
        with pytest.raises(LimitError, match="2 streams") as caught:
            held.enter_context(quotas.held(user_id="u", workspace_id="w3"))
        assert caught.value.code == "stream_limit"
        held.enter_context(quotas.held(user_id="other", workspace_id="w0"))


def test_the_workspaces_limit_counts_all_users() -> None:
    quotas = StreamQuotas(per_user=10, per_workspace=1)
    with (
        quotas.held(user_id="a", workspace_id="w"),
        pytest.raises(LimitError),
        quotas.held(user_id="b", workspace_id="w"),
    ):
        pass


def test_places_are_given_back_also_after_an_error() -> None:
    quotas = StreamQuotas(per_user=1, per_workspace=1)
    for _ in range(3):
        with pytest.raises(KeyError), quotas.held(user_id="u", workspace_id="w"):
            raise KeyError
    with quotas.held(user_id="u", workspace_id="w"):
        pass


def test_a_stream_has_a_share_of_what_is_limited() -> None:
    assert Bandwidth().shares(user_id="u", workspace_id="w") == ()
    both = Bandwidth(per_user=1000, per_workspace=500)
    user, workspace = both.shares(user_id="u", workspace_id="w")
    assert (user.rate, workspace.rate) == (1000, 500)
    assert both.shares(user_id="u", workspace_id="x")[0] == user
    assert both.shares(user_id="v", workspace_id="w")[1] == workspace
    # A user and a workspace of one name are not the same.
    same = both.shares(user_id="u", workspace_id="u")
    assert same[0].number != same[1].number
