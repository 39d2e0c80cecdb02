"""Routes: users."""

from __future__ import annotations

from fastapi import APIRouter

from kled_coord.api.bodies import ChangeUserBody, NewUserBody
from kled_coord.api.guard import CallerDep, NamePath, ServicesDep
from kled_coord.api.user_answers import UserAnswer
from kled_coord.identity.users import UserChange

router = APIRouter(prefix="/api/v1/users", tags=["users"])


@router.get("/me")
async def me(services: ServicesDep, caller: CallerDep) -> UserAnswer:
    """The caller."""
    return UserAnswer.of(await services.users.get(caller, caller.user_name))


@router.get("")
async def list_users(services: ServicesDep, caller: CallerDep) -> list[UserAnswer]:
    """All users."""
    return [UserAnswer.of(user) for user in await services.users.list_all(caller)]


@router.post("", status_code=201)
async def create_user(body: NewUserBody, services: ServicesDep, caller: CallerDep) -> UserAnswer:
    """Add a user; without a password the answer has a one-time code."""
    user, code = await services.users.create(
        caller, name=body.name, role=body.role, password=body.password, email=body.email
    )
    return UserAnswer.of(user, code)


@router.get("/{name}")
async def get_user(name: NamePath, services: ServicesDep, caller: CallerDep) -> UserAnswer:
    """One user."""
    return UserAnswer.of(await services.users.get(caller, name))


@router.patch("/{name}")
async def change_user(
    name: NamePath, body: ChangeUserBody, services: ServicesDep, caller: CallerDep
) -> UserAnswer:
    """Change a user."""
    change = UserChange(
        role=body.role,
        password=body.password,
        old_password=body.old_password,
        email=body.email,
        suspended=body.suspended,
        max_workspaces=body.max_workspaces,
        max_waiting_builds=body.max_waiting_builds,
    )
    return UserAnswer.of(await services.users.change(caller, name, change))


@router.delete("/{name}", status_code=204)
async def delete_user(name: NamePath, services: ServicesDep, caller: CallerDep) -> None:
    """Delete a user who has no workspaces."""
    await services.users.delete(caller, name)


@router.post("/{name}/end-streams", status_code=204)
async def end_streams(name: NamePath, services: ServicesDep, caller: CallerDep) -> None:
    """End all streams and followed logs that are open for a user."""
    await services.users.end_streams(caller, name)
