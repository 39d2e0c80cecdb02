"""A state store over HTTP, a workspace's host, and templates as archives."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h11
import pytest
import trio

from kled_coord.sandbox.choice import Sandbox
from kled_coord.terraform.process.binary import Binary, find_binary
from kled_coord.terraform.process.command import Backend
from tests.kit.programs import need


def make_tar(files: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


@dataclass(kw_only=True)
class StateStore:
    """The server side of Terraform's `http` backend, for one state."""

    port: int = 0
    state: bytes | None = None
    lock: bytes | None = None
    log: list[str] = field(default_factory=list)
    refuses: bool = False
    sandbox: Sandbox | None = None  # of the builds that keep their state here

    @property
    def backend(self) -> Backend:
        url = f"http://127.0.0.1:{self.port}/state"
        return Backend(address=url, lock_address=url, username="run", password="pa:ss")

    def answer(self, method: str, authorization: str, body: bytes) -> tuple[int, bytes]:
        self.log.append(method)
        if authorization != "Basic " + base64.b64encode(b"run:pa:ss").decode():
            return 401, b""
        if method == "LOCK":
            if self.lock is not None:
                return 423, self.lock
            self.lock = body
            return 200, b""
        if method == "UNLOCK":
            self.lock = None
            return 200, b""
        if method == "POST":
            self.state = self.state if self.refuses else body
            return (403 if self.refuses else 200), b""
        return (404, b"") if self.state is None else (200, self.state)

    def addresses(self) -> list[str]:
        saved = json.loads(self.state or b'{"resources": []}')
        return [f"{r['type']}.{r['name']}" for r in saved["resources"] if r["mode"] == "managed"]

    async def serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        request: Any = None
        body = b""
        async with stream:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some(65536))
                elif isinstance(event, h11.Request):
                    request, body = event, b""
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    headers = dict(request.headers)
                    secret = headers.get(b"authorization", b"").decode()
                    code, reply = self.answer(request.method.decode(), secret, body)
                    head = h11.Response(
                        status_code=code, headers=[("content-length", str(len(reply)))]
                    )
                    for part in (head, h11.Data(data=reply), h11.EndOfMessage()):
                        await stream.send_all(connection.send(part) or b"")
                    if connection.our_state is h11.MUST_CLOSE:
                        return
                    connection.start_next_cycle()
                else:
                    return


@pytest.fixture(params=["alone", "in a sandbox"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox | None:
    """What confines Terraform: everything must work alike without and with one."""
    if request.param == "alone":
        return None
    return Sandbox(program=need("bwrap"))


@pytest.fixture
async def store(nursery: trio.Nursery, sandbox: Sandbox | None) -> StateStore:
    store = StateStore(sandbox=sandbox)
    listeners = await nursery.start(partial(trio.serve_tcp, store.serve, 0, host="127.0.0.1"))
    store.port = listeners[0].socket.getsockname()[1]
    return store


@dataclass(kw_only=True)
class FakeHost:
    directory: str
    transition: str = "start"
    released: list[str] = field(default_factory=list)
    generations: dict[str, str] = field(default_factory=dict)
    configured: dict[str, Any] = field(default_factory=dict)
    hangs: bool = False
    prefix: str = "a"
    hanging: trio.Event = field(default_factory=trio.Event)

    async def workspace(self) -> dict[str, Any]:
        names = ["id", "name", "owner", "owner_id", "owner_email", "build_id"]
        names += ["template_id", "template_name", "template_version"]
        return {
            **{name: f"the-{name}" for name in names},
            "transition": self.transition,
            "start_count": int(self.transition == "start"),
            "access_url": "http://127.0.0.1:1",
            "parameters": {},
            "previous_parameters": {},
        }

    async def tell_parameter(self, parameter: Mapping[str, Any]) -> bool:
        del parameter
        return False

    async def tell_preset(self, preset: Mapping[str, Any]) -> None:
        del preset

    async def ensure_agent(self, name: str, generation: str) -> dict[str, str]:
        if self.hangs:
            self.hanging.set()
            await trio.sleep_forever()
        self.generations[f"{self.prefix}-{name}"] = generation
        return {"id": f"{self.prefix}-{name}", "token": "secret"}

    async def find_agent(self, agent_id: str, generation: str) -> dict[str, Any] | None:
        return {"token": "secret"} if self.generations.get(agent_id) == generation else None

    async def configure_agent(self, agent_id: str, environment: Any, directory: Any) -> None:
        self.configured[agent_id] = (environment, directory)

    async def start_script(self, architecture, variables, directory):
        return None

    async def has_bundle(self, architecture: str) -> bool:
        return True

    async def release_agent(self, agent_id: str, generation: str | None) -> None:
        assert self.generations.pop(agent_id) == generation
        self.released.append(agent_id)

    async def process_directory(self) -> str:
        return self.directory

    async def confine_process(self, writable: Mapping[str, str], directory: str) -> list[str]:
        return []

    async def agent_command(self) -> list[str]:
        return ["/bin/sleep", "300"]

    async def note(self, message: str) -> None:
        raise NotImplementedError(message)

    async def progress(self, message: str) -> None:
        del message


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    directory = tmp_path / "processes"
    directory.mkdir(mode=0o700)
    return FakeHost(directory=str(directory))


@pytest.fixture
async def binary() -> Binary:
    return await find_binary(os.environ)


@pytest.fixture
def pack() -> Callable[..., bytes]:
    return make_tar
