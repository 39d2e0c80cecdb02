"""Tokens, logins and users, on both databases."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime

import pytest
import trio

from kled_coord.identity.attempts import ADDRESS_MAX
from kled_coord.identity.logins import KNOWN_FOR
from kled_coord.identity.passwords import QUEUE_MAX, Passwords
from kled_coord.identity.users import UserChange
from kled_coord.policy.actions import Action
from kled_coord.policy.roles import Role
from kled_coord.store.known_addresses import prune_known_addresses
from kled_coord.store.users import prune_login_codes
from kled_wire.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    KledError,
    LimitError,
    NotFoundError,
    UnauthenticatedError,
)
from kled_wire.names import parse_workspace_ref


async def login(world, name: str, password: str | None = None, address: str = "1.2.3.4"):
    return await world.services.logins.login(
        username=name, password=password or f"{name}-password", token_name="t", address=address
    )


async def outcomes(world, count: int, *args: str) -> Counter[str]:
    """What becomes of so many logins that come at once, by error code."""
    seen: Counter[str] = Counter()

    async def one() -> None:
        try:
            await login(world, *args)
            seen["logged_in"] += 1
        except KledError as error:
            seen[error.code] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return seen


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

    async def last_used_at() -> datetime | None:
        tokens = await world.services.identity.tokens(caller)
        return next(t.last_used_at for t in tokens if t.id == new.token.id)

    assert await last_used_at() == first
    world.clock.advance(1)
    await world.services.identity.authenticate(new.secret)
    assert await last_used_at() == world.clock.now


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


async def test_a_burst_of_guesses_is_counted_before_any_is_checked(world) -> None:
    await world.user("alice")
    assert await outcomes(world, 200, "alice", "wrong") == {
        "login_failed": 5,
        "login_throttled": 195,
    }
    with pytest.raises(LimitError) as caught:
        await login(world, "alice")
    assert caught.value.retry_after_s == 300


async def test_strangers_do_not_lock_out_who_logged_in_from_there_of_late(world) -> None:
    await world.user("alice")
    await login(world, "alice", address="192.0.2.1")
    for number in range(9):
        await outcomes(world, 9, "alice", "wrong", f"198.51.100.{number}")
        await outcomes(world, 9, f"name{number}", "wrong", "192.0.2.1")
    _, new = await login(world, "alice", address="192.0.2.1")
    with pytest.raises(LimitError):
        await login(world, "alice", address="192.0.2.2")
    await world.services.identity.authenticate(new.secret)
    await exchange(world, await world.services.logins.reset("alice"))
    # Where a code was used is known too; a month later neither is.
    await login(world, "alice", address="1.2.3.4")
    world.clock.advance(KNOWN_FOR.total_seconds())
    await outcomes(world, 9, "alice", "wrong", "198.51.100.1")
    with pytest.raises(LimitError):
        await login(world, "alice", address="192.0.2.1")
    await world.services.store.write(prune_known_addresses, world.clock() - KNOWN_FOR)


async def test_strangers_in_a_crowd_are_told_to_come_back_and_known_people_are_not(
    lite_world, monkeypatch
) -> None:
    await lite_world.user("alice")
    await login(lite_world, "alice")
    going_on, release = threading.Event(), threading.Event()
    check = Passwords._check

    def slow(self, password: str, password_hash: str | None) -> bool:
        if password == "wrong":
            going_on.set()
            assert release.wait(30)
        return check(self, password, password_hash)

    monkeypatch.setattr(Passwords, "_check", slow)
    seen: Counter[str] = Counter()

    async def stranger(number: int) -> None:
        try:
            await login(lite_world, f"name{number}", "wrong", f"198.51.100.{number}")
        except KledError as error:
            seen[error.code] += 1

    async with trio.open_nursery() as nursery:
        for number in range(QUEUE_MAX + 10):
            nursery.start_soon(stranger, number)
        await trio.to_thread.run_sync(going_on.wait)
        while seen["login_busy"] < 9:
            await trio.lowlevel.checkpoint()
        await login(lite_world, "alice")
        release.set()
    assert seen == {"login_busy": 9, "login_failed": QUEUE_MAX + 1}


async def test_the_same_refusal_is_a_row_once_an_hour(world) -> None:
    await world.user("alice")
    _, new = await login(world, "alice")
    caller = await world.services.identity.authenticate(new.secret)
    await world.services.identity.logout(caller)

    async def rows() -> int:
        newest = await world.services.audit.newest(1000)
        return sum(row.action == "auth.authenticate" for row in newest)

    for _ in range(50):
        assert await refused(world, new.secret) == "token_revoked"
    assert await rows() == 1
    world.clock.advance(3600)
    assert await refused(world, new.secret) == "token_revoked"
    assert await rows() == 2


async def test_the_refusals_of_one_token_fill_no_disk(world) -> None:
    alice = await world.user("alice")
    for number in range(100):
        with pytest.raises(ForbiddenError):
            await world.services.users.get(alice, f"name{number}")
    rows = [row for row in await world.services.audit.newest(1000) if not row.allowed]
    assert len(rows) == 60


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
    for _ in range(ADDRESS_MAX):
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
    change = UserChange(password="another-one", old_password="alice-password")
    await world.services.users.change(caller, "alice", change)
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


async def test_a_foreign_workspace_and_none_cost_the_same(lite_world, make_tar) -> None:
    """Of both there is one audit row, whose writing is what took time."""
    services = lite_world.services
    admin, alice = await lite_world.user("boss", "admin"), await lite_world.user("alice")
    bob = await lite_world.user("bob")
    await services.pushing.push(admin, "t", message="", upload=make_tar({"main.tf": b"x"}))
    version = await services.templates.version(alice, "t", None)
    made = await services.workspaces.create(alice, name="dev", version=version, parameters={})

    async def asked(text: str) -> tuple[str, int]:
        before = len(await services.audit.newest(1000))
        with pytest.raises(NotFoundError) as caught:
            await services.workspaces.resolve(bob, parse_workspace_ref(text), Action.WORKSPACE_READ)
        rows = len(await services.audit.newest(1000)) - before
        return caught.value.message.replace(text, "REF"), rows

    assert await asked("dev.alice") == await asked("none.alice") == await asked("none.nobody")
    foreign = made.workspace.id
    other = foreign[:-1] + ("y" if foreign.endswith("x") else "x")
    assert await asked(foreign) == await asked(other) == ("there is no workspace REF", 1)
    assert await asked("none") == ("there is no workspace REF", 0)
