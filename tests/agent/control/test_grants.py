"""What stands on which grant, and what ends with it."""

from __future__ import annotations

from contextlib import ExitStack

import trio
from hypothesis import given
from hypothesis import strategies as st

from kled_agent.control.grants import Grants
from kled_wire.control import messages


async def test_nothing_served_is_nothing_to_say() -> None:
    grants = Grants()
    with grants.held([""]):
        assert grants.report() == []
    assert grants.end(["a"]) == 0


async def test_many_grants_are_said_in_several_messages() -> None:
    grants = Grants()
    names = [f"{number:04}" for number in range(messages.GRANTS_MAX + 1)]
    with grants.held(names):
        first, second = grants.report()
    assert [*first.grants, *second.grants] == names
    assert len(first.grants) == messages.GRANTS_MAX
    assert grants.report() == []


some_grants = st.sets(st.sampled_from("abcd"))


@given(st.lists(some_grants, max_size=5), some_grants)
def test_exactly_what_stands_on_an_ended_grant_ends(
    served: list[set[str]], ended: set[str]
) -> None:
    async def check() -> None:
        grants = Grants()
        with ExitStack() as stack:
            scopes = [stack.enter_context(grants.held(some)) for some in served]
            grants.end(ended)
            assert [scope.cancel_called for scope in scopes] == [
                bool(ended & some) for some in served
            ]

    trio.run(check)
