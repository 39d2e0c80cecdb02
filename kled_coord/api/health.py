"""Routes: whether this coordinator lives, is ready, and how it does. No token needed."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from kled_coord.api.guard import ServicesDep
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
        raise UnavailableError("not_ready", "the coordinator is starting or going down")
    return JSONResponse({"status": "ready"})


@router.get("/metrics")
async def metrics(services: ServicesDep) -> Response:
    """Prometheus metrics."""
    return Response(services.metrics.render(), media_type="text/plain; version=0.0.4")
