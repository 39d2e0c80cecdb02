"""Coordinators for tests: a clock that stands still, cheap passwords, a fake Terraform."""

from __future__ import annotations

import io
import secrets
import ssl
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import structlog
import trio
from argon2 import PasswordHasher
from fastapi import FastAPI

from kled_coord.api.app import make_routes, serve_routes
from kled_coord.config import CoordinatorConfig
from kled_coord.control.refusals import Refusals
from kled_coord.front.admission import Admission
from kled_coord.front.asgi import AsgiServer
from kled_coord.identity.secrets import hash_secret
from kled_coord.metrics import Metrics
from kled_coord.policy.decide import Caller
from kled_coord.policy.roles import Role
from kled_coord.sandbox.choice import SandboxChoice
from kled_coord.services import Services, Sources, build_services
from kled_coord.store.engine import Store
from kled_coord.store.records import AgentRecord, User
from kled_coord.store.tokens import insert_token
from kled_coord.workspaces.presence import ConnectedAgent, ReadKeys, WaitAnswered
from kled_wire.control.messages import Message, UserKey
from kled_wire.errors import UnavailableError
from kled_wire.names import AgentId
from tests.coord.databases import migrated_file, migrated_server, open_copy, open_copy_on
from tests.coord.fake_terraform import FakeTerraform


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.passed_s = 1000.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.passed_s

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.passed_s += seconds


class FakeRegistry:
    """A registry whose agents the test connects."""

    def __init__(self) -> None:
        self.states: dict[str, ConnectedAgent] = {}
        self.dropped: list[tuple[str, str]] = []
        # What connected agents hold; those in `mute` never answer, to those in `stuck` nothing
        # can be sent.
        self.keys: dict[str, tuple[UserKey, ...]] = {}
        self.mute: set[str] = set()
        self.stuck: set[str] = set()
        self.asked: list[str] = []
        self.sent: list[tuple[str, Message]] = []
        self.refusals = Refusals()
        self._changed = trio.Event()

    def connect(self, agent_id: str, now: datetime) -> None:
        self.states[agent_id] = ConnectedAgent(
            agent_id=AgentId(agent_id),
            connected_at=now,
            last_seen_at=now,
            rtt_s=0.002,
            version="9.9",
            hostname="box",
            os="linux",
            arch="x86_64",
            address="192.0.2.7",
            report=None,
        )
        self._changed.set()
        self._changed = trio.Event()

    def state(self, agent_id: str) -> ConnectedAgent | None:
        return self.states.get(agent_id)

    async def ping(self, agent_id: str) -> float:
        if agent_id not in self.states:
            raise UnavailableError("agent_not_connected", "not connected")
        return 0.0025

    async def wait_connected(self, agent_id: str) -> None:
        while agent_id not in self.states:
            await self._changed.wait()

    async def give_keys(self, agent_id: str, read: ReadKeys) -> WaitAnswered:
        if agent_id not in self.states:
            raise UnavailableError("agent_not_connected", "not connected")
        if agent_id in self.stuck:
            await trio.sleep_forever()
        keys = await read()
        if agent_id in self.mute:
            return trio.sleep_forever
        self.keys[agent_id] = keys
        return trio.lowlevel.checkpoint

    async def send(self, agent_id: str, message: Message) -> None:
        await self.ping(agent_id)
        self.sent.append((agent_id, message))

    async def ask_grants(self, agent_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append(agent_id)

    def refused(self, agent: AgentRecord, why: str, at: datetime) -> None:
        self.refusals.note(agent, why, at)

    async def wait_refused(self, agent: AgentRecord, since: datetime) -> str:
        return await self.refusals.wait(agent, since)

    def drop(self, agent_id: str, reason: str) -> None:
        self.dropped.append((agent_id, reason))
        self.states.pop(agent_id, None)


@dataclass
class World:
    """One coordinator and everything the test may turn."""

    services: Services
    clock: Clock
    terraform: FakeTerraform
    registry: FakeRegistry

    async def user(self, name: str, role: str = "member") -> Caller:
        """Add a user (password: `NAME-password`) and call as them."""
        user, _ = await self.services.users.add(
            name=name, role=Role(role), password=f"{name}-password", email=None
        )
        caller = self.caller(user)
        new = self.services.identity.new_token(user.id, "test", ("all",), None)
        token = replace(new.token, id=caller.token_id)
        await self.services.store.write(insert_token, token, hash_secret(new.secret))
        self.services.identity.signed_in(token)
        return caller

    def caller(self, user: User, scopes: tuple[str, ...] = ("all",)) -> Caller:
        return Caller(
            user_id=user.id,
            user_name=user.name,
            role=Role(user.role),
            scopes=scopes,
            token_id=f"tok_{user.id[4:]}",
        )


@pytest.fixture(autouse=True, scope="session")
def plain_logs() -> None:
    """Tracebacks as the coordinator prints them; structlog's own take seconds to draw."""
    renderer = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def terraform() -> FakeTerraform:
    return FakeTerraform()


@pytest.fixture
def sources(clock: Clock, terraform: FakeTerraform) -> Sources:
    return Sources(
        clock=clock,
        monotonic=clock.monotonic,
        random_bytes=secrets.token_bytes,
        hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1),
        run_build=terraform.run,
        check_template=terraform.check,
        ask_template=terraform.ask,
        plan_build=terraform.plan,
        sandbox=SandboxChoice(CoordinatorConfig(sandbox="off")),
    )


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database, to be copied."""
    return migrated_file(tmp_path_factory.mktemp("migrated"))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL with a migrated database, to be copied."""
    with migrated_server(tmp_path_factory.mktemp("migrated")) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty, migrated store; on both databases."""
    if request.param == "sqlite":
        opened = open_copy(request.getfixturevalue("migrated"), tmp_path)
    else:
        opened = open_copy_on(request.getfixturevalue("postgres"))
    yield opened
    opened.close()


@pytest.fixture
def lite_store(migrated: Path, tmp_path: Path) -> Iterator[Store]:
    """A store on SQLite only, where the database is not what is tested."""
    opened = open_copy(migrated, tmp_path)
    yield opened
    opened.close()


@asynccontextmanager
async def open_world(
    store: Store, sources: Sources, terraform: FakeTerraform, data_dir: Path
) -> AsyncIterator[World]:
    registry = FakeRegistry()
    config = CoordinatorConfig(data_dir=data_dir).with_defaults()
    services = await build_services(
        config,
        store=store,
        sealing_key=bytes(32),
        sources=sources,
        metrics=Metrics(),
        registry=registry,
    )
    assert isinstance(sources.clock, Clock)
    yield World(services=services, clock=sources.clock, terraform=terraform, registry=registry)


@pytest.fixture
async def world(
    store: Store, sources: Sources, terraform: FakeTerraform, tmp_path: Path
) -> AsyncIterator[World]:
    """Services over both databases."""
    async with open_world(store, sources, terraform, tmp_path) as opened:
        yield opened


@pytest.fixture
async def lite_world(
    lite_store: Store, sources: Sources, terraform: FakeTerraform, tmp_path: Path
) -> AsyncIterator[World]:
    """Services over SQLite only."""
    async with open_world(lite_store, sources, terraform, tmp_path) as opened:
        yield opened


@dataclass
class Api:
    """The API of a world over a real connection."""

    world: World
    client: httpx.AsyncClient
    port: int

    async def login(self, name: str, role: str = "member") -> dict[str, str]:
        """Add a user and log in; gives the headers to call with."""
        await self.world.user(name, role)
        answer = await self.client.post(
            "/api/v1/auth/login", json={"username": name, "password": f"{name}-password"}
        )
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}


@pytest.fixture(scope="session")
def routes() -> FastAPI:
    """FastAPI reads a route when it is first asked for, which takes longer than most tests."""
    return make_routes()


@pytest.fixture
async def api(routes: FastAPI, lite_world: World, nursery: trio.Nursery) -> AsyncIterator[Api]:
    """The real AsgiServer on loopback."""
    server = AsgiServer(serve_routes(routes, lite_world.services), Admission())
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    lite_world.services.readiness.listening = True
    nursery.start_soon(partial(trio.serve_listeners, server.serve_connection, listeners))
    port = listeners[0].socket.getsockname()[1]
    # Which certificates are good takes 10 ms to load, and there is no TLS here.
    unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=unused) as client:
        yield Api(world=lite_world, client=client, port=port)


@pytest.fixture
def make_tar() -> Any:
    """A function: files by name (bytes) to a tar."""

    def make(files: dict[str, bytes], *, mode: Literal["w", "w:gz"] = "w") -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode) as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return out.getvalue()

    return make
