"""Ends of access: what is open ends, and the agents are asked about the rest; on both databases."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.identity.attempts import ACCOUNT_MAX
from kled_coord.identity.grants import decode_grant, encode_grant, grant_of
from kled_coord.identity.service import IdentityService, NewToken
from kled_coord.identity.users import UserChange
from kled_coord.policy.decide import Caller
from kled_coord.policy.roles import Role
from kled_coord.store.records import Grant
from kled_wire.errors import ForbiddenError, InputError, LimitError, UnauthenticatedError
from tests.coord.conftest import World

words = st.text(alphabet=st.characters(exclude_characters=" "), min_size=1, max_size=9)


@given(st.builds(Grant, user_id=words, token_id=words, endings=st.integers(0, 10**17)))
def test_a_grant_is_read_as_it_was_written(grant: Grant) -> None:
    assert decode_grant(encode_grant(grant)) == grant


@given(st.text() | st.lists(st.text(max_size=5), min_size=3, max_size=3).map(" ".join))
def test_what_an_agent_makes_up_is_a_grant_or_none(text: str) -> None:
    found = decode_grant(text)
    assert found is None or encode_grant(found).split(" ")[:2] == text.split(" ")[:2]


async def log_in(world: World, name: str) -> NewToken:
    _, new = await world.services.logins.login(
        username=name, password=f"{name}-password", token_name="t", address="192.0.2.1"
    )
    return new


async def suspend_for_a_moment(world: World, root: Caller, _new: NewToken) -> None:
    for suspended in (True, False):
        await world.services.users.change(root, "alice", UserChange(suspended=suspended))


async def make_auditor(world: World, root: Caller, _new: NewToken) -> None:
    """Auditors have no workspaces to enter."""
    await world.services.users.change(root, "alice", UserChange(role=Role.AUDITOR))


async def delete(world: World, root: Caller, _new: NewToken) -> None:
    await world.services.users.delete(root, "alice")


async def end_streams(world: World, root: Caller, _new: NewToken) -> None:
    await world.services.users.end_streams(root, "alice")


async def revoke(world: World, root: Caller, new: NewToken) -> None:
    await world.services.identity.revoke(root, new.token.id)


async def log_out(world: World, _root: Caller, new: NewToken) -> None:
    await world.services.identity.logout(await world.services.identity.authenticate(new.secret))


async def set_password(world: World, root: Caller, _new: NewToken) -> None:
    await world.services.users.change(root, "alice", UserChange(password="one-of-admins"))


async def set_password_by_code(world: World, _root: Caller, _new: NewToken) -> None:
    code = await world.services.logins.reset("alice")
    await world.services.logins.exchange(
        code=code, password="a-new-password", token_name="t", address="192.0.2.1"
    )


@pytest.mark.parametrize(
    "end",
    [
        suspend_for_a_moment,
        make_auditor,
        delete,
        end_streams,
        revoke,
        log_out,
        set_password,
        set_password_by_code,
    ],
)
async def test_what_is_open_ends_and_its_grant_holds_no_more(world: World, end) -> None:
    root = await world.user("root", "owner")
    await world.user("alice")
    new, bobs = await log_in(world, "alice"), await world.user("bob")
    identity, endings = world.services.identity, world.services.endings
    bob = encode_grant(grant_of(bobs))
    with trio.fail_after(10):
        async with identity.admitted(new.secret) as opening:
            grant = encode_grant(grant_of(opening.caller))
            assert await endings.ended([grant, bob]) == ()
            await end(world, root, new)
            await trio.sleep_forever()
    assert opening.ended
    assert await endings.ended([grant, bob, "made up"]) == (grant, "made up")


async def test_another_token_of_the_user_keeps_what_it_opened(world: World) -> None:
    root = await world.user("root", "owner")
    await world.user("alice")
    kept, revoked = await log_in(world, "alice"), await log_in(world, "alice")
    async with world.services.identity.admitted(kept.secret) as opening:
        await revoke(world, root, revoked)
        await trio.lowlevel.checkpoint()
    assert not opening.ended


async def test_an_end_between_the_look_at_a_token_and_its_use_is_not_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is as slow as can be: the token is revoked once it has been read."""
    root = await world.user("root", "owner")
    await world.user("alice")
    new = await log_in(world, "alice")
    identity = world.services.identity
    look = identity.authenticate

    async def slowly(_self: IdentityService, bearer: str) -> Caller:
        caller = await look(bearer)
        monkeypatch.undo()
        await revoke(world, root, new)
        return caller

    monkeypatch.setattr(IdentityService, "authenticate", slowly)
    with pytest.raises(UnauthenticatedError) as refused:
        async with identity.admitted(new.secret):
            pytest.fail("it was let in")
    assert refused.value.code == "token_revoked"


async def test_the_agents_of_the_users_workspaces_are_asked(
    world: World, nursery: trio.Nursery, make_tar
) -> None:
    services, root, alice = (
        world.services,
        await world.user("root", "owner"),
        await world.user("alice"),
    )
    pushed = await services.pushing.push(root, "t", message="", upload=make_tar({"main.tf": b"#"}))
    mine, others = [
        await services.workspaces.create(who, name="dev", version=pushed.version, parameters={})
        for who in (alice, root)
    ]
    agent, _ = await services.agents.ensure(mine.workspace.id, "main")
    await services.agents.ensure(others.workspace.id, "main")
    nursery.start_soon(services.endings.serve)
    await services.users.end_streams(root, "alice")
    with trio.fail_after(10):
        while not world.registry.asked:
            await trio.sleep(0.005)
    assert world.registry.asked == [agent]


async def test_a_code_dies_with_a_new_password_and_with_suspension(world: World) -> None:
    root, users = await world.user("root", "owner"), world.services.users
    await world.user("alice")
    exchange = partial(
        world.services.logins.exchange, password=None, token_name="t", address="192.0.2.1"
    )
    code = await world.services.logins.reset("alice")
    await users.change(root, "alice", UserChange(password="reset-by-an-admin"))
    with pytest.raises(UnauthenticatedError):
        await exchange(code=code)
    code = await world.services.logins.reset("alice")
    for suspended in (True, False):
        await users.change(root, "alice", UserChange(suspended=suspended))
    with pytest.raises(UnauthenticatedError):
        await exchange(code=code)


async def test_a_new_password_asks_for_the_old_one_also_from_an_owner(world: World) -> None:
    for name, role in (("alice", "member"), ("root", "owner")):
        caller, change = await world.user(name, role), world.services.users.change
        more: dict[str, Any] = {"role": Role.OWNER} if role == "owner" else {}
        with pytest.raises(InputError) as missing:
            await change(caller, name, UserChange(password="another-one", **more))
        assert missing.value.code == "old_password_missing"
        with pytest.raises(ForbiddenError) as wrong:
            await change(
                caller, name, UserChange(password="another-one", old_password="guess", **more)
            )
        assert wrong.value.code == "old_password_wrong"
        right = f"{name}-password"
        await change(caller, name, UserChange(password="another-one", old_password=right, **more))


async def test_guessing_the_old_password_is_slowed_down(world: World) -> None:
    caller, change = await world.user("alice"), world.services.users.change
    guess = UserChange(password="another-one", old_password="guess")
    for _ in range(ACCOUNT_MAX):
        with pytest.raises(ForbiddenError):
            await change(caller, "alice", guess)
    with pytest.raises(LimitError):
        await change(caller, "alice", guess)


async def test_without_a_password_a_token_cannot_set_one(world: World) -> None:
    users, logins = world.services.users, world.services.logins
    _, code = await users.add(name="alice", role=Role.MEMBER, password=None, email=None)
    assert code is not None
    _, new = await logins.exchange(code=code, password=None, token_name="t", address="192.0.2.1")
    caller = await world.services.identity.authenticate(new.secret)
    with pytest.raises(ForbiddenError) as refused:
        await users.change(caller, "alice", UserChange(password="another-one", old_password=""))
    assert refused.value.code == "old_password_wrong"


async def test_who_set_a_password_is_shown_to_its_user_and_audited(world: World) -> None:
    admin, alice = await world.user("admin", "admin"), await world.user("alice")
    await world.services.users.change(admin, "alice", UserChange(password="known-to-admin"))
    seen, _ = await world.services.logins.login(
        username="alice", password="known-to-admin", token_name="t", address="192.0.2.1"
    )
    assert (seen.password_set_by, seen.password_set_at) == ("admin", world.clock.now)
    rows = await world.services.audit.newest(2)
    changed = next(row for row in rows if row.action == "user.update")
    assert (changed.user_name, "somebody else's new password" in changed.detail) == ("admin", True)
    assert alice.user_id == seen.id


async def test_a_sign_in_by_an_operators_code_is_shown_to_the_user(world: World) -> None:
    alice, logins = await world.user("alice"), world.services.logins
    assert (await world.services.users.get(alice, "alice")).code_used_at is None
    code = await logins.reset("alice")
    world.clock.advance(60)
    used_at = world.clock.now
    await logins.exchange(code=code, password=None, token_name="t", address="192.0.2.1")
    world.clock.advance(60)
    assert (await world.services.users.get(alice, "alice")).code_used_at == used_at
    await world.services.users.change(alice, "alice", UserChange(email="alice@example.org"))
    assert (await world.services.users.get(alice, "alice")).code_used_at == used_at


async def test_a_token_makes_none_that_outlives_it_but_a_fresh_sign_in_does(world: World) -> None:
    await world.user("alice")
    identity, make = world.services.identity, world.services.identity.create_token
    signed_in = await identity.authenticate((await log_in(world, "alice")).secret)
    short = await make(signed_in, name="short", scopes=("all",), lifetime_s=60)
    long = await make(signed_in, name="long", scopes=("all",), lifetime_s=90 * 86400)
    assert long.token.expires_at is not None
    with_short = await identity.authenticate(short.secret)
    for lifetime in (61, 0):
        with pytest.raises(ForbiddenError) as refused:
            await make(with_short, name="x", scopes=("all",), lifetime_s=lifetime)
        assert refused.value.code == "token_outlives"
    made = await make(with_short, name="x", scopes=("all",), lifetime_s=None)
    assert made.token.expires_at == short.token.expires_at
    assert (await make(with_short, name="x", scopes=("all",), lifetime_s=30)).token.expires_at
    world.clock.advance(601)
    with pytest.raises(ForbiddenError):
        await make(signed_in, name="late", scopes=("all",), lifetime_s=90 * 86400)
