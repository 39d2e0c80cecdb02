"""Serves a provider to the Terraform processes of one run, over a Unix socket.

Plaintext gRPC: the socket lies in a private directory, and `TF_REATTACH_PROVIDERS` uses no TLS.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from kled_provider.grpc.server import serve_grpc
from kled_provider.host import Host
from kled_provider.plugin.private import Replacements
from kled_provider.plugin.resource import Provider
from kled_provider.plugin.service import PluginService


async def serve_provider(
    provider: Provider,
    listener: trio.SocketListener,
    host: Host,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve connections until the listener is closed, then until the last of them ends.

    A connection that breaks lets its running operations finish (grpc.GRACE_AFTER_EOF_S). Cancel
    to stop at once: what an operation has begun is adopted by the next create.
    """
    replacements = Replacements()
    serve = partial(
        serve_provider_connection, provider=provider, host=host, replacements=replacements
    )
    await serve_connections(listener, serve, task_status=task_status)


async def serve_connections(
    listener: trio.SocketListener,
    serve: Callable[[trio.SocketStream], Awaitable[object]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call `serve` with each connection until the listener is closed, and wait for the last."""
    async with trio.open_nursery() as connections:
        task_status.started()
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                return
            connections.start_soon(serve, stream)


async def serve_provider_connection(
    stream: trio.abc.Stream, provider: Provider, host: Host, replacements: Replacements
) -> None:
    """Serve one connection of a Terraform that has not started the provider itself."""
    # Terraform sends Shutdown only to providers that it has started.
    service = PluginService(provider, host, lambda: None, replacements)
    await serve_grpc(stream, service.handle)
