"""The composition root: builds every part and starts every task.

docs/architecture.md has the tree of tasks.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Never

import structlog
import trio
from argon2 import PasswordHasher

from kled_coord.api.app import create_app
from kled_coord.builds.pruning import prune
from kled_coord.builds.running.jobs import Jobs, Places
from kled_coord.builds.running.terraform import Terraform, check_path, remove_previews
from kled_coord.builds.running.worker import Worker
from kled_coord.bundles.store import BundleStore
from kled_coord.config import CoordinatorConfig
from kled_coord.control.registry import AgentRegistry
from kled_coord.front.admission import Admission
from kled_coord.front.asgi import AsgiServer
from kled_coord.front.listener import raise_descriptor_limit
from kled_coord.front.tls import open_certificates
from kled_coord.identity.logins import KNOWN_FOR
from kled_coord.metrics import Metrics
from kled_coord.planes import build_planes, serve_front
from kled_coord.private_files import look_at_tls_key, make_private_directory, open_sealing_key
from kled_coord.relay.splice.processes import check_system, make_processes
from kled_coord.sandbox.choice import SandboxChoice
from kled_coord.services import Services, Sources, build_services
from kled_coord.sources import utc_now
from kled_coord.stopping import StopOrder
from kled_coord.store.engine import Store, open_store
from kled_coord.store.errors import StoreError
from kled_coord.store.known_addresses import prune_known_addresses
from kled_coord.store.migrate import migrate
from kled_coord.store.users import prune_login_codes
from kled_coord.workspaces.presence import NoAgents, Registry
from kled_wire.errors import ConfigError

_SWEEP_S: Final = 10.0
_PRUNE_S: Final = 3600.0

log = structlog.get_logger(__name__)


def real_sources(config: CoordinatorConfig) -> Sources:
    """The clock, randomness, costs and Terraform of a real coordinator."""
    sandbox = SandboxChoice(config)
    terraform = Terraform(
        environment=os.environ,
        path=config.terraform_path,
        env_file=config.terraform_env_file,
        quiet_s=config.build_quiet_s,
        stop_s=config.build_stop_s,
        sandbox=sandbox,
        data_dir=config.data_dir,
        bundles=BundleStore(config.bundles),
    )
    return Sources(
        clock=utc_now,
        monotonic=time.monotonic,
        random_bytes=secrets.token_bytes,
        hasher=PasswordHasher(),
        run_build=terraform.run,
        check_template=terraform.check,
        ask_template=terraform.ask,
        plan_build=terraform.plan,
        sandbox=sandbox,
    )


@asynccontextmanager
async def open_services(
    config: CoordinatorConfig,
    sources: Sources,
    metrics: Metrics | None = None,
    registry: Registry | None = None,
) -> AsyncIterator[Services]:
    """Prepare the data directory and the database and build the services.

    Without a registry no agent is connected, as in `kled-coord init`.

    Raises ConfigError, StoreError.
    """
    config = config.with_defaults()
    assert config.sealing_key_file is not None
    make_private_directory(config.data_dir)
    async with open_database(config) as store:
        key = await open_sealing_key(store, config.sealing_key_file, sources.random_bytes)
        yield await build_services(
            config,
            store=store,
            sealing_key=key,
            sources=sources,
            metrics=Metrics() if metrics is None else metrics,
            registry=NoAgents() if registry is None else registry,
        )


@asynccontextmanager
async def open_database(config: CoordinatorConfig) -> AsyncIterator[Store]:
    """The database, migrated; `config` has its defaults. Raises ConfigError, StoreError."""
    store = open_store(config.database_url)
    try:
        lock_file = config.data_dir / "migrate.lock"
        await trio.to_thread.run_sync(partial(migrate, store.engine, lock_file=lock_file))
        yield store
    finally:
        store.close()


async def serve(
    config: CoordinatorConfig,
    *,
    sources: Sources,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the coordinator until SIGTERM; reports its URL once it takes connections.

    Raises ConfigError, StoreError.
    """
    check_system()
    raise_descriptor_limit()
    metrics = Metrics()
    registry = AgentRegistry(metrics)
    await check_path(config.terraform_path, os.environ)
    await sources.sandbox.make()  # a build must not be the first to learn that it does not work
    async with open_services(config, sources, metrics, registry) as services:
        with only_one(config.data_dir):
            await remove_previews(config.data_dir)
            await services.sessions.close_forgotten()
            await _serve(services, registry, sources, task_status)
    log.info("coordinator_stopped")


async def _serve(
    services: Services,
    registry: AgentRegistry,
    sources: Sources,
    task_status: trio.TaskStatus[str],
) -> None:
    config = services.config
    admission = Admission()
    asgi = AsgiServer(create_app(services), admission, config.trusted_proxies)
    certificates = open_certificates(config.tls_cert_file, config.tls_key_file)
    if config.tls_key_file is not None:
        look_at_tls_key(config.tls_key_file)
    processes = make_processes(config, services.metrics, certificates)
    planes = build_planes(
        services,
        asgi=asgi,
        admission=admission,
        registry=registry,
        processes=processes,
        random_bytes=sources.random_bytes,
    )
    async with trio.open_nursery() as outer:
        await outer.start(processes.run)
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_front, services, planes)
            workers = [make_worker(services, number, port) for number in range(config.workers)]
            stop = StopOrder(
                services=services,
                asgi=asgi,
                planes=planes,
                workers=workers,
                scope=nursery.cancel_scope,
            )
            await outer.start(stop.watch_signals)
            nursery.start_soon(work, services, workers, nursery)
            serve_beside(services, registry, nursery)
            services.readiness.listening = True
            url = config.with_defaults(port).access_url
            log.info("coordinator_started", url=url, port=port)
            task_status.started(url)
        outer.cancel_scope.cancel()


def serve_beside(services: Services, registry: AgentRegistry, nursery: trio.Nursery) -> None:
    """Start in `nursery` what serves neither a connection nor a build."""
    nursery.start_soon(services.endings.serve)
    nursery.start_soon(services.scripts.serve)
    nursery.start_soon(services.agent_keys.serve)
    nursery.start_soon(sweep, services)
    nursery.start_soon(prune_hourly, services)
    nursery.start_soon(registry.serve_dead_peers)


async def work(services: Services, workers: Sequence[Worker], nursery: trio.Nursery) -> None:
    """Start the workers once nothing of an earlier coordinator's runs is at work any more.

    Its builds end only then: their Terraforms may use the state backend as long as they save.
    """
    await services.runs.end_abandoned()
    await _fail_abandoned(services)
    for worker in workers:
        nursery.start_soon(worker.serve, services.readiness.draining)


async def _fail_abandoned(services: Services) -> None:
    """Fail what an earlier coordinator ran, as soon as the database takes it."""
    is_dead = await trio.to_thread.run_sync(earlier_workers, services.config)
    while True:
        try:
            return await services.queue.expire(is_dead)
        except StoreError as error:
            log.warning("abandoned_builds_not_failed", reason=error.message)
        await trio.sleep(_SWEEP_S)


async def sweep(services: Services) -> Never:
    """Every few seconds: fail builds whose worker died, save what they left, drop spent codes.

    And stop workspaces that are not used.
    """
    while True:
        try:
            await services.queue.expire()
            await services.runs.recover()
            await services.unused.stop_all()
            await services.store.write(prune_login_codes, services.clock())
        except StoreError as error:
            log.warning("sweep_failed", reason=error.message)
        await trio.sleep(_SWEEP_S)


async def prune_hourly(services: Services) -> Never:
    """Look for damage; drop old logs, versions of states, known addresses; now and every hour."""
    config = services.config
    while True:
        try:
            await services.store.check()
            await services.store.write(prune_known_addresses, services.clock() - KNOWN_FOR)
            await prune(
                services.store,
                services.clock,
                logs_keep_days=config.logs_keep_days,
                states_keep=config.states_keep,
            )
        except StoreError as error:
            log.warning("prune_failed", reason=error.message)
        await trio.sleep(_PRUNE_S)


def make_worker(services: Services, number: int, port: int) -> Worker:
    """One worker of this process; it reaches the state backend over loopback where it can."""
    config = services.config
    plain = config.tls_cert_file is None
    access_url = config.with_defaults(port).access_url
    local = config.model_copy(update={"access_url": ""}).with_defaults(port).access_url
    places = Places(
        bundles=services.bundles,
        access_url=access_url,
        state_url=local if plain else access_url,
        processes=config.processes,
    )
    return Worker(
        store=services.store,
        clock=services.clock,
        queue=services.queue,
        changes=services.changes,
        runner=services.run_build,
        runs=services.runs,
        jobs=make_jobs(services, places),
        name=f"{worker_prefix(config.data_dir)}{os.getpid()}/{number}",
    )


def make_jobs(services: Services, places: Places) -> Jobs:
    """What workers of this process put their jobs together with."""
    return Jobs(
        store=services.store,
        states=services.states,
        sealer=services.sealer,
        agents=services.agents,
        specs=services.specs,
        scripts=services.scripts,
        sandbox=services.sandbox,
        places=places,
    )


def worker_prefix(data_dir: Path) -> str:
    """How the names of all workers begin that ever had this data directory, on this host. Blocks.

    They are unique among all workers of one database.
    """
    file = data_dir / "instance"
    with suppress(OSError):
        if instance := file.read_text():
            return f"{socket.gethostname()[:40]}/{instance}/"
    instance = secrets.token_hex(6)
    with suppress(OSError):  # a full disk: then leases alone tell of these workers' end
        file.write_text(instance)
    return f"{socket.gethostname()[:40]}/{instance}/"


def earlier_workers(config: CoordinatorConfig) -> Callable[[str], bool]:
    """Tells which workers have ended, once this process holds the data directory. Blocks.

    Nobody else works on a SQLite database; on PostgreSQL the data directory's own have ended, and
    of others the leases tell.
    """
    if config.with_defaults().database_url.startswith("sqlite"):
        return lambda _worker: True
    prefix = worker_prefix(config.data_dir)
    return lambda worker: worker.startswith(prefix)


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
