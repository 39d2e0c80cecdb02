"""Routes: login, logout, and the version of the coordinator."""

from __future__ import annotations

from fastapi import APIRouter

from kled_coord.api.bodies import ExchangeBody, LoginBody
from kled_coord.api.guard import AddressDep, CallerDep, ServicesDep
from kled_coord.api.user_answers import LoginAnswer
from kled_wire.version import PROTOCOL, SOFTWARE_VERSION

router = APIRouter(prefix="/api/v1", tags=["auth"])


@router.get("/version")
async def version() -> dict[str, str]:
    """Software and protocol version."""
    return {"version": SOFTWARE_VERSION, "protocol": PROTOCOL}


@router.post("/auth/login")
async def login(body: LoginBody, services: ServicesDep, address: AddressDep) -> LoginAnswer:
    """Log in by password."""
    user, new = await services.logins.login(
        username=body.username,
        password=body.password,
        token_name=body.token_name,
        address=address,
    )
    return LoginAnswer.of(user, new)


@router.post("/auth/exchange")
async def exchange(body: ExchangeBody, services: ServicesDep, address: AddressDep) -> LoginAnswer:
    """Log in by one-time code."""
    user, new = await services.logins.exchange(
        code=body.code, password=body.password, token_name=body.token_name, address=address
    )
    return LoginAnswer.of(user, new)


@router.post("/auth/logout", status_code=204)
async def logout(services: ServicesDep, caller: CallerDep) -> None:
    """Revoke the token that is used."""
    await services.identity.logout(caller)
