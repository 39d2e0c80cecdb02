"""Routes: liveness and readiness (without a token), and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from kled_coord.api.guard import LocalDep, ServicesDep, bearer_of, caller_of
from kled_coord.policy.actions import Action, ActionTarget
from kled_wire.errors import UnavailableError

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(services: ServicesDep) -> JSONResponse:
    """The store answers and the listener takes connections; 503 otherwise. Raises StoreError."""
    await services.store.ping()
    if services.readiness.draining.is_set() or not services.readiness.listening:
        raise UnavailableError("not_ready", "the coordinator is starting or stopping")
    return JSONResponse({"status": "ready"})


@router.get("/metrics")
async def metrics(services: ServicesDep, request: Request, local: LocalDep) -> Response:
    """Prometheus metrics; on this machine, or where the settings say so, without a token."""
    if not (local or services.config.metrics_public):
        caller = await caller_of(request, services, await bearer_of(request))
        await services.audit.require(caller, Action.METRICS_READ, ActionTarget(kind="metrics"))
    return Response(services.metrics.render(), media_type="text/plain; version=0.0.4")
