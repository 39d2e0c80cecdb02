"""Tokens, logins and users, on both databases."""

from __future__ import annotations

import pytest

from kled_coord.identity.users import UserChange
from kled_coord.policy.roles import Role
from kled_coord.store.users import prune_login_codes
from kled_wire.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    LimitError,
    NotFoundError,
    UnauthenticatedError,
)


async def login(world, name: str, password: str | None = None):
    return await world.services.logins.login(
        username=name, password=password or f"{name}-password", token_name="t", address="1.2.3.4"
    )


async def exchange(world, code: str, password: str | None = None):
    return await world.services.logins.exchange(
        code=code, password=password, token_name="t", address="1.2.3.4"
    )


async def refused(world, secret: str) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await world.services.identity.authenticate(secret)
    return caught.value.code


async def test_a_token_of_a_login_names_its_user(world) -> None:
    await world.user("alice")
    user, new = await login(world, "alice")
    caller = await world.services.identity.authenticate(new.secret)
    assert (caller.user_id, caller.user_name, caller.role) == (user.id, "alice", Role.MEMBER)
    assert caller.scopes == ("all",)


async def test_wrong_expired_revoked_and_suspended_are_told_apart(world) -> None:
    await world.user("alice")
    owner = await world.user("root", "owner")
    _, new = await login(world, "alice")
    assert await refused(world, "kled_" + "a" * 52) == "token_unknown"
    assert await refused(world, "kled_agent_" + "a" * 52) == "token_unknown"
    assert await refused(world, "\ud800 nonsense") == "token_unknown"
    await world.services.users.change(owner, "alice", UserChange(suspended=True))
    assert await refused(world, new.secret) == "user_suspended"
    await world.services.users.change(owner, "alice", UserChange(suspended=False))
    world.clock.advance(31 * 86400)
    assert await refused(world, new.secret) == "token_expired"
    _, new = await login(world, "alice")
    caller = await world.services.identity.authenticate(new.secret)
    await world.services.identity.logout(caller)
    assert await refused(world, new.secret) == "token_revoked"


async def test_last_use_is_written_once_a_minute(world) -> None:
    await world.user("alice")
    _, new = await login(world, "alice")
    caller = await world.services.identity.authenticate(new.secret)
    first = world.clock.now
    world.clock.advance(59)
    await world.services.identity.authenticate(new.secret)
    assert (await world.services.identity.tokens(caller))[0].last_used_at == first
    world.clock.advance(1)
    await world.services.identity.authenticate(new.secret)
    assert (await world.services.identity.tokens(caller))[0].last_used_at == world.clock.now


async def test_a_token_never_expires_only_when_asked(world) -> None:
    alice = await world.user("alice")
    make = world.services.identity.create_token
    new = await make(alice, name="x", scopes=("read",), lifetime_s=None)
    assert new.token.expires_at is not None
    new = await make(alice, name="x", scopes=("read",), lifetime_s=0)
    assert new.token.expires_at is None
    for scopes, lifetime in ((("root",), None), ((), None), (("all",), -1)):
        with pytest.raises(InputError):
            await make(alice, name="x", scopes=scopes, lifetime_s=lifetime)


async def test_a_foreign_token_is_not_revoked(world) -> None:
    alice, bob = await world.user("alice"), await world.user("bob")
    new = await world.services.identity.create_token(
        alice, name="x", scopes=("all",), lifetime_s=None
    )
    with pytest.raises(ForbiddenError):
        await world.services.identity.revoke(bob, new.token.id)
    await world.services.identity.revoke(await world.user("boss", "admin"), new.token.id)
    assert await refused(world, new.secret) == "token_revoked"


async def test_guessing_a_password_is_slowed_down(world) -> None:
    await world.user("alice")
    for _ in range(5):
        with pytest.raises(UnauthenticatedError):
            await login(world, "alice", "wrong")
    with pytest.raises(LimitError):
        await login(world, "alice")
    world.clock.advance(301)
    await login(world, "alice")


async def test_a_one_time_code_works_once_and_sets_the_password(world) -> None:
    services = world.services
    _, code = await services.users.add(name="alice", role=Role.MEMBER, password=None, email=None)
    user, new = await exchange(world, f" {code}\n", "new-password")
    assert user.name == "alice"
    assert (await services.identity.authenticate(new.secret)).user_id == user.id
    await login(world, "alice", "new-password")
    for wrong in (code, "kled_once_nonsense", ""):
        with pytest.raises(UnauthenticatedError) as caught:
            await exchange(world, wrong)
        assert caught.value.code == "code_invalid"


async def test_a_code_dies_by_age_and_by_a_newer_one(world) -> None:
    await world.user("alice")
    first = await world.services.logins.reset("alice")
    second = await world.services.logins.reset("alice")
    with pytest.raises(UnauthenticatedError):
        await exchange(world, first)
    world.clock.advance(24 * 3600)
    with pytest.raises(UnauthenticatedError):
        await exchange(world, second)
    await world.services.store.write(prune_login_codes, world.clock())
    with pytest.raises(NotFoundError):
        await world.services.logins.reset("nobody")


async def test_wrong_codes_do_not_lock_out_a_right_one(world) -> None:
    await world.user("alice")
    for _ in range(5):
        with pytest.raises(UnauthenticatedError):
            await exchange(world, "kled_once_wrong")
    with pytest.raises(LimitError):
        await exchange(world, "kled_once_wrong")
    await exchange(world, await world.services.logins.reset("alice"))


async def test_users_are_managed_by_admins_but_owners_by_owners(world) -> None:
    users = world.services.users
    admin, member = await world.user("boss", "admin"), await world.user("alice")
    await world.user("root", "owner")
    with pytest.raises(ForbiddenError):
        await users.create(member, name="x", role=Role.MEMBER, password=None, email=None)
    with pytest.raises(ForbiddenError):
        await users.create(admin, name="x", role=Role.OWNER, password=None, email=None)
    with pytest.raises(ForbiddenError):
        await users.change(admin, "root", UserChange(password="a-new-one"))
    with pytest.raises(ForbiddenError):
        await users.change(member, "alice", UserChange(role=Role.ADMIN))
    with pytest.raises(ForbiddenError):
        await users.get(member, "boss")
    with pytest.raises(ConflictError) as caught:
        await users.create(admin, name="alice", role=Role.MEMBER, password=None, email=None)
    assert caught.value.code == "user_exists"
    with pytest.raises(InputError):
        await users.create(admin, name="me", role=Role.MEMBER, password=None, email=None)


async def test_a_member_changes_their_own_password_and_keeps_the_token_at_hand(world) -> None:
    await world.user("alice")
    _, old = await login(world, "alice")
    _, new = await login(world, "alice")
    caller = await world.services.identity.authenticate(new.secret)
    await world.services.users.change(caller, "alice", UserChange(password="another-one"))
    assert await refused(world, old.secret) == "token_revoked"
    await world.services.identity.authenticate(new.secret)
    await login(world, "alice", "another-one")


async def test_the_last_owner_stays(world) -> None:
    owner = await world.user("root", "owner")
    for change in (UserChange(role=Role.MEMBER), UserChange(suspended=True)):
        with pytest.raises(ConflictError) as caught:
            await world.services.users.change(owner, "root", change)
        assert caught.value.code == "last_owner"
    with pytest.raises(ConflictError):
        await world.services.users.delete(owner, "root")


async def test_a_deleted_user_frees_the_name(world) -> None:
    owner = await world.user("root", "owner")
    await world.user("alice")
    _, new = await login(world, "alice")
    await world.services.users.delete(owner, "alice")
    assert await refused(world, new.secret) == "token_revoked"
    await world.user("alice")


async def test_refusals_are_in_the_audit_log(world) -> None:
    alice = await world.user("alice")
    with pytest.raises(ForbiddenError):
        await world.services.users.list_all(alice)
    row = (await world.services.audit.newest(1))[0]
    assert (row.action, row.allowed, row.user_name) == ("user.read", False, "alice")
