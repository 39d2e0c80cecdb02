"""The provider as a program that Terraform starts, for Terraform run by hand.

Inside the coordinator nothing of this is used: serve.py is faster and knows whose build it is.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import trio

from kled_provider import handshake
from kled_provider.environment_host import EnvironmentHost
from kled_provider.grpc.server import serve_grpc
from kled_provider.plugin.private import Replacements
from kled_provider.plugin.resource import Provider
from kled_provider.plugin.service import PluginService

FIRST_CONNECTION_S = 60.0  # Terraform itself gives up after as long
AFTER_SHUTDOWN_S = 1.0  # it kills what has not exited 2 s after Shutdown


async def run_standalone(
    environment: Mapping[str, str], say: Callable[[str], None], provider: Provider
) -> None:
    """Serve `provider` to one Terraform process, until that is gone.

    `say` gets the handshake line.
    """
    with tempfile.TemporaryDirectory(prefix="kled-provider-") as name:
        directory = Path(name)
        context, certificate = None, b""
        if client_certificate := environment.get("PLUGIN_CLIENT_CERT"):
            context, certificate = handshake.make_tls(client_certificate, directory)
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        path = directory / "kled.sock"
        await sock.bind(str(path))
        sock.listen()
        say(handshake.handshake_line(path, certificate))
        async with trio.SocketListener(sock) as listener:
            await _serve(listener, context, EnvironmentHost(environment), provider)


async def _serve(
    listener: trio.SocketListener,
    context: ssl.SSLContext | None,
    host: EnvironmentHost,
    provider: Provider,
) -> None:
    """Serve until the last connection is gone, or none has come."""
    connections, replacements = 0, Replacements()
    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope
        scope.deadline = trio.current_time() + FIRST_CONNECTION_S

        def on_shutdown() -> None:
            # Not at once: the reply to this very call has to leave first.
            scope.deadline = trio.current_time() + AFTER_SHUTDOWN_S

        async def serve(stream: trio.SocketStream) -> None:
            nonlocal connections
            service = PluginService(provider, host, on_shutdown, replacements)
            await serve_grpc(_secured(stream, context), service.handle)
            connections -= 1
            if connections == 0:
                scope.cancel()

        while True:
            stream = await listener.accept()
            scope.deadline = float("inf")
            connections += 1
            nursery.start_soon(serve, stream)


def _secured(stream: trio.SocketStream, context: ssl.SSLContext | None) -> trio.abc.Stream:
    if context is None:
        return stream
    return trio.SSLStream(stream, context, server_side=True, https_compatible=True)
