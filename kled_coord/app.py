"""The composition root: every part is built here, and every task is started here.

serve
├── watch_signals      SIGTERM drains, a second one stops
├── serve_front        connections (below it, one task each)
├── workers            `config.workers` of them
└── sweep              expired leases and one-time codes
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Never

import structlog
import trio
from argon2 import PasswordHasher

from kled_coord.api.app import create_app
from kled_coord.builds.changes import QUEUE
from kled_coord.builds.terraform import Terraform
from kled_coord.builds.worker import Worker, WorkerSettings
from kled_coord.config import Config
from kled_coord.control.link import ControlPlane
from kled_coord.control.registry import AgentRegistry
from kled_coord.front.asgi import AsgiServer
from kled_coord.front.head import Plane
from kled_coord.front.listener import (
    Arrival,
    Handler,
    open_listeners,
    raise_descriptor_limit,
    serve_connections,
)
from kled_coord.front.tls import load_context
from kled_coord.metrics import Metrics
from kled_coord.relay.broker import Broker
from kled_coord.relay.lifetime import Lifetime
from kled_coord.relay.plane import DataPlane
from kled_coord.relay.quotas import StreamQuotas
from kled_coord.services import Services, Sources, build_services
from kled_coord.sources import utc_now
from kled_coord.store.engine import open_store
from kled_coord.store.errors import StoreError
from kled_coord.store.migrate import migrate
from kled_coord.store.sealing import create_sealing_key
from kled_coord.store.users import prune_login_codes
from kled_wire.errors import ConfigError

_SWEEP_S: Final = 10.0

log = structlog.get_logger(__name__)


def real_sources(config: Config) -> Sources:
    """The clock, randomness, costs and Terraform of a real coordinator."""
    terraform = Terraform(environment=os.environ, path=config.terraform_path)
    return Sources(
        clock=utc_now,
        random_bytes=secrets.token_bytes,
        hasher=PasswordHasher(),
        run_build=terraform.run,
        check_template=terraform.check,
    )


def make_registry(metrics: Metrics) -> AgentRegistry:
    """The registry of agents that are connected to this process."""
    return AgentRegistry(metrics, utc_now)


@asynccontextmanager
async def open_services(config: Config, sources: Sources) -> AsyncIterator[Services]:
    """Prepare the data directory and the database and build the services.

    Raises ConfigError, StoreError.
    """
    config = config.with_defaults()
    assert config.sealing_key_file is not None
    _make_private(config.data_dir)
    key = create_sealing_key(config.sealing_key_file, sources.random_bytes)
    store = open_store(config.database_url)
    try:
        lock_file = config.data_dir / "migrate.lock"
        await trio.to_thread.run_sync(partial(migrate, store.engine, lock_file=lock_file))
        yield await build_services(
            config, store=store, sealing_key=key, sources=sources, make_registry=make_registry
        )
    finally:
        store.close()


async def serve(
    config: Config,
    *,
    sources: Sources,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the coordinator until SIGTERM; reports its URL once it takes connections.

    Raises ConfigError, StoreError.
    """
    raise_descriptor_limit()
    async with open_services(config, sources) as services:
        with only_one(config.data_dir):
            await services.sessions.close_forgotten()
            if config.with_defaults().database_url.startswith("sqlite"):
                await services.queue.expire(all_workers=True)
            await _serve(services, task_status)
    log.info("coordinator_stopped")


async def _serve(services: Services, task_status: trio.TaskStatus[str]) -> None:
    config, draining = services.config, services.readiness.draining
    asgi = AsgiServer(create_app(services))
    async with trio.open_nursery() as outer:
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_front, services, asgi)
            workers = [make_worker(services, number, port) for number in range(config.workers)]
            stop = Stop(services=services, asgi=asgi, workers=workers, scope=nursery.cancel_scope)
            await outer.start(stop.watch_signals)
            for worker in workers:
                nursery.start_soon(worker.serve, draining)
            nursery.start_soon(sweep, services)
            assert isinstance(services.registry, AgentRegistry)
            nursery.start_soon(services.registry.serve_dead_peers)
            services.readiness.listening = True
            url = config.with_defaults(port).access_url
            log.info("coordinator_started", url=url, port=port)
            task_status.started(url)
        outer.cancel_scope.cancel()


async def serve_front(
    services: Services,
    asgi: AsgiServer,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections until draining and hand each to its plane; reports the port."""
    config = services.config
    tls = (
        load_context(config.tls_cert_file, config.tls_key_file)
        if config.tls_cert_file and config.tls_key_file
        else None
    )
    try:
        listeners = await open_listeners(config.host, config.port)
    except OSError as error:
        raise ConfigError(
            "listen_failed", f"host, port: cannot listen on {config.host}:{config.port}: {error}"
        ) from error
    port: int = listeners[0].socket.getsockname()[1]
    handlers = make_planes(services, asgi)
    async with trio.open_nursery() as connections, trio.open_nursery() as accepting:
        await accepting.start(partial(serve_connections, listeners, handlers, connections, tls=tls))
        task_status.started(port)
        await services.readiness.draining.wait()
        accepting.cancel_scope.cancel()


def make_planes(services: Services, asgi: AsgiServer) -> Mapping[Plane, Handler]:
    """Who serves which kind of connection."""
    config, registry = services.config, services.registry
    assert isinstance(registry, AgentRegistry)
    broker = Broker(registry, secrets.token_bytes)
    control = ControlPlane(
        identity=services.identity,
        agents=services.agents,
        registry=registry,
        clock=services.clock,
        on_dial_failed=broker.fail_nowait,
    )
    data = DataPlane(
        identity=services.identity,
        workspaces=services.workspaces,
        sessions=services.sessions,
        broker=broker,
        quotas=StreamQuotas(
            per_user=config.streams_per_user, per_workspace=config.streams_per_workspace
        ),
        lifetime=Lifetime(idle_s=config.stream_idle_s, absolute_s=config.stream_absolute_s),
        metrics=services.metrics,
    )

    async def serve_api(arrival: Arrival) -> None:
        await asgi.serve_connection(arrival.with_head())

    return {
        Plane.API: serve_api,
        Plane.CONTROL: control.serve,
        Plane.AGENT_STREAM: data.serve_agent,
        Plane.CLIENT_STREAM: data.serve_client,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """How the coordinator goes down. `scope` holds everything that serves."""

    services: Services
    asgi: AsgiServer
    workers: Sequence[Worker]
    scope: trio.CancelScope

    async def watch_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        """At the first SIGTERM or SIGINT drain for at most `drain_s`, at the second stop now."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async with trio.open_nursery() as nursery:
                async for _ in signals:
                    if self.services.readiness.draining.is_set():
                        log.warning("coordinator_stopping_now")
                        for worker in self.workers:
                            worker.force()
                        self.scope.cancel()
                    else:
                        self.services.readiness.draining.set()
                        nursery.start_soon(self._drain)

    async def _drain(self) -> None:
        drain_s = self.services.config.drain_s
        log.info("coordinator_draining", seconds=drain_s)
        self.services.changes.ring(QUEUE)
        with trio.move_on_after(drain_s):
            await self.asgi.drain()
        self.scope.cancel()


async def sweep(services: Services) -> Never:
    """Fail builds whose worker died and drop spent one-time codes, every few seconds."""
    while True:
        try:
            await services.queue.expire()
            await services.store.write(prune_login_codes, services.clock())
        except StoreError as error:
            log.warning("sweep_failed", reason=error.message)
        await trio.sleep(_SWEEP_S)


def make_worker(services: Services, number: int, port: int) -> Worker:
    """One worker of this process; it reaches the state backend over loopback where it can."""
    config = services.config
    plain = config.tls_cert_file is None
    access_url = config.with_defaults(port).access_url
    local = config.model_copy(update={"access_url": ""}).with_defaults(port).access_url
    return Worker(
        store=services.store,
        clock=services.clock,
        queue=services.queue,
        changes=services.changes,
        agents=services.agents,
        runner=services.run_build,
        settings=WorkerSettings(
            name=f"{socket.gethostname()[:40]}/{os.getpid()}/{number}",
            access_url=access_url,
            state_url=local if plain else access_url,
            processes=config.data_dir / "processes",
        ),
    )


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data directory. Raises ConfigError when another coordinator does."""
    with (data_dir / "serve.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                "data_dir_in_use", f"data_dir {data_dir}: another coordinator is running on it"
            ) from error
        yield


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("data_dir_unusable", f"data_dir {directory}: {error.strerror}") from error
