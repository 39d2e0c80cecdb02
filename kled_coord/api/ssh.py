"""Routes: SSH certificates."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from kled_coord.api.bodies import CertificateBody
from kled_coord.api.guard import CallerDep, ServicesDep, caller_of
from kled_coord.api.user_answers import CertificateAnswer
from kled_coord.policy.actions import Action, ActionTarget
from kled_wire.names import user_principal

router = APIRouter(prefix="/api/v1/ssh", tags=["ssh"])


@router.post("/certificates")
async def sign_certificate(
    body: CertificateBody, services: ServicesDep, caller: CallerDep
) -> CertificateAnswer:
    """Sign the caller's public key for some minutes."""
    resource = ActionTarget(kind="user", name=caller.user_name, owner_id=caller.user_id)
    await services.audit.require(caller, Action.SSH_CERTIFICATE, resource)
    signed = services.ca.sign_user(
        body.public_key,
        key_id=f"{caller.user_name}@{caller.token_id}",
        principals=[user_principal(caller.user_id)],
    )
    await services.audit.note(caller, Action.SSH_CERTIFICATE, resource)
    return CertificateAnswer(
        certificate=signed.line,
        ca_public_key=services.ca.public_key,
        valid_until=signed.valid_until,
        principals=signed.principals,
    )


@router.get("/ca", dependencies=[Depends(caller_of)])
async def get_ca(services: ServicesDep) -> dict[str, str]:
    """The authority's public key."""
    return {"ca_public_key": services.ca.public_key}
