"""Assembles the three planes of the one port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import trio

from kled_coord.control.link import ControlPlane
from kled_coord.control.registry import AgentRegistry
from kled_coord.front.admission import Admission
from kled_coord.front.asgi import AsgiServer
from kled_coord.front.bundles import BundlePlane
from kled_coord.front.head import Plane
from kled_coord.front.listener import (
    Arrival,
    Handler,
    open_listeners,
    serve_connections,
)
from kled_coord.relay.rendezvous.broker import Broker
from kled_coord.relay.rendezvous.plane import DataPlane
from kled_coord.relay.rendezvous.quotas import Bandwidth, RelayQuotas, StreamQuotas
from kled_coord.relay.splice.join import Joiner
from kled_coord.relay.splice.processes import DataProcesses
from kled_coord.services import Services
from kled_coord.sources import RandomBytes
from kled_wire.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """What serves each kind of connection, and what has to be ended with the coordinator."""

    handlers: Mapping[Plane, Handler]
    admission: Admission
    registry: AgentRegistry
    broker: Broker
    processes: DataProcesses
    restart_in_s: float

    def cut(self) -> None:
        """End every stream as well when the coordinator ends."""
        self.processes.cut()

    async def drain(self) -> None:
        """Leave streams to the processes, tell the agents to dial again and wait until they go."""
        self.processes.leave()
        self.broker.close_standby()
        self.registry.end_all("the coordinator is stopping", back_in_s=self.restart_in_s)
        await self.registry.wait_empty()


def build_planes(
    services: Services,
    *,
    asgi: AsgiServer,
    admission: Admission,
    registry: AgentRegistry,
    processes: DataProcesses,
    random_bytes: RandomBytes,
) -> Planes:
    """Put the planes together."""
    config = services.config
    broker = Broker(registry, random_bytes)
    control = ControlPlane(
        identity=services.identity,
        agents=services.agents,
        keys=services.agent_keys,
        registry=registry,
        endings=services.endings,
        scripts=services.scripts,
        clock=services.clock,
        on_dial_failed=broker.fail_nowait,
    )
    data = DataPlane(
        identity=services.identity,
        sessions=services.sessions,
        broker=broker,
        quotas=RelayQuotas(
            StreamQuotas(
                per_user=config.streams_per_user, per_workspace=config.streams_per_workspace
            ),
            Bandwidth(
                per_user=config.bandwidth_per_user, per_workspace=config.bandwidth_per_workspace
            ),
        ),
        joiner=Joiner(
            processes.relay, idle_s=config.stream_idle_s, absolute_s=config.stream_absolute_s
        ),
        agent_wait=services.agent_wait,
        metrics=services.metrics,
        offload=processes.offload,
    )

    async def api(arrival: Arrival) -> None:
        await asgi.serve_connection(arrival.with_head(), arrival.place)

    handlers = {
        Plane.API: api,
        Plane.CONTROL: control.serve,
        Plane.AGENT_STREAM: data.serve_agent,
        Plane.CLIENT_STREAM: data.serve_client,
        Plane.BUNDLES: BundlePlane(services.bundles, config.access_url).serve,
    }
    return Planes(
        handlers=handlers,
        admission=admission,
        registry=registry,
        broker=broker,
        processes=processes,
        restart_in_s=config.restart_in_s,
    )


async def serve_front(
    services: Services,
    planes: Planes,
    *,
    task_status: trio.TaskStatus[int],
) -> None:
    """Accept connections until draining; those that are open go on. Reports the port.

    Raises ConfigError when it cannot listen.
    """
    config = services.config
    tls = None if config.tls_cert_file is None else planes.processes.offload
    try:
        listeners = await open_listeners(config.host, config.port)
    except OSError as error:
        raise ConfigError(
            "listen_failed", f"host, port: cannot listen on {config.host}:{config.port}: {error}"
        ) from error
    port: int = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as connections, trio.open_nursery() as accepting:

        async def accept(*, task_status: trio.TaskStatus[list[trio.SocketListener]]) -> None:
            await serve_connections(
                listeners,
                planes.handlers,
                connections,
                admission=planes.admission,
                tls=tls,
                trusted_proxies=config.trusted_proxies,
                task_status=task_status,
            )

        await accepting.start(accept)
        task_status.started(port)
        await services.readiness.draining.wait()
        accepting.cancel_scope.cancel()
