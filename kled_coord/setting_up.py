"""Makes the first user of a new coordinator."""

from __future__ import annotations

from dataclasses import dataclass

from kled_coord.policy.roles import Role
from kled_coord.services import Services
from kled_coord.store.users import list_users


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialized:
    """The first user, and a one-time code unless there was a user already."""

    user: str
    code: str | None


async def initialize(services: Services, name: str, *, new_code: bool) -> Initialized:
    """Add the first owner, or with `new_code` give the one there is another code.

    Raises InputError, StoreError, ConflictError.
    """
    user, code = await services.users.add_first_owner(name)
    if code is not None:
        return Initialized(user=user, code=code)
    users = await services.store.read(list_users)
    owners = [user.name for user in users if user.role == Role.OWNER]
    owner = name if name in owners else owners[0]
    code = await services.logins.reset(owner) if new_code else None
    return Initialized(user=owner, code=code)
