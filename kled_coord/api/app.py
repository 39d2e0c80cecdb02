"""The API application: every router, the error shape, and the middleware."""

from __future__ import annotations

from functools import partial
from typing import Final

from fastapi import FastAPI

from kled_coord.api import (
    agent,
    audit,
    auth,
    builds,
    bundles,
    containers,
    docs,
    health,
    icons,
    keys,
    scripts,
    ssh,
    states,
    templates,
    tfstate,
    tokens,
    users,
    workspaces,
)
from kled_coord.api.edge import Edge
from kled_coord.api.errors import ERROR_ANSWERS, install_error_handlers
from kled_coord.api.receiving import check_sender
from kled_coord.services import Services
from kled_wire.version import SOFTWARE_VERSION

_MODULES: Final = (
    auth,
    users,
    tokens,
    keys,
    templates,
    workspaces,
    builds,
    scripts,
    states,
    containers,
    ssh,
    audit,
    agent,
    tfstate,
    bundles,
    health,
    icons,
    docs,
)


def create_app(services: Services) -> Edge:
    """Make the ASGI application over the services."""
    return serve_routes(make_routes(), services)


def make_routes() -> FastAPI:
    """Every route and the error shape, which `serve_routes` puts over services."""
    app = FastAPI(
        title="Kled",
        version=SOFTWARE_VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
        responses=ERROR_ANSWERS,
    )
    for module in _MODULES:
        app.include_router(module.router)
    install_error_handlers(app)
    return app


def serve_routes(routes: FastAPI, services: Services) -> Edge:
    """The ASGI application of routes over these services, in place of those before."""
    routes.state.services = services
    return Edge(routes, services.metrics, partial(check_sender, services))
