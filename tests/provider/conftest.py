"""A host to run the provider against, and terraform to run it with."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_provider.host import HostError
from kled_provider.kled.provider import kled_provider
from kled_provider.plugin.resource import Provider
from kled_provider.plugin.serving import serve_provider
from kled_provider.serve import KLED
from tests.kit.private_containerd import PrivateContainerd, open_containerd


@dataclass(kw_only=True)
class FakeHost:
    """One workspace, kept in memory; a test changes the fields to play the coordinator."""

    directory: Path
    transition: str = "start"
    parameters: dict[str, str] = field(default_factory=dict)
    agents: dict[str, dict[str, str]] = field(default_factory=dict)
    generations: dict[str, str] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    configured: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    previous: dict[str, str] = field(default_factory=dict)
    told: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    asking: bool = False
    notes: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=lambda: ["/bin/sleep", "300"])
    hang_in_ensure: trio.Event | None = None
    refuse_workspace: bool = False
    workspace_id: str = "w-1"

    async def workspace(self) -> Mapping[str, Any]:
        if self.refuse_workspace:
            raise HostError("the database is away", hint="Wait a moment.")
        return {
            "id": self.workspace_id,
            "name": "dev",
            "transition": self.transition,
            "start_count": int(self.transition == "start"),
            "owner": "ada",
            "owner_id": "u-1",
            "owner_email": "ada@kled.example",
            "template_id": "t-1",
            "access_url": "https://kled.example",
            "template_name": "process",
            "template_version": "3",
            "build_id": "b-1",
            "parameters": self.parameters,
            "previous_parameters": self.previous,
        }

    async def tell_parameter(self, parameter: Mapping[str, Any]) -> bool:
        self.told[parameter["name"]] = parameter
        return self.asking

    async def tell_preset(self, preset: Mapping[str, Any]) -> None:
        self.told[preset["name"]] = preset

    async def ensure_agent(self, name: str, generation: str) -> Mapping[str, str]:
        if self.hang_in_ensure is not None:
            self.hang_in_ensure.set()
            await trio.sleep_forever()
        agent = self.agents.setdefault(name, {"id": f"a-{name}", "token": f"secret-{name}"})
        self.generations[agent["id"]] = generation
        return agent

    async def find_agent(self, agent_id: str, generation: str) -> Mapping[str, Any] | None:
        if self.generations.get(agent_id) != generation:
            return None
        env, directory = self.configured.get(agent_id, ({}, None))
        return {"token": f"secret-{agent_id[2:]}", "env": env, "dir": directory}

    async def configure_agent(self, agent_id: str, environment: Any, directory: Any) -> None:
        self.configured[agent_id] = (environment, directory)

    async def start_script(self, architecture, variables, directory):
        return None

    async def has_bundle(self, architecture: str) -> bool:
        return True

    async def release_agent(self, agent_id: str, generation: str | None) -> None:
        if generation in (None, self.generations.get(agent_id)):
            del self.generations[agent_id]
            self.released.append(agent_id)

    async def process_directory(self) -> str:
        return str(self.directory)

    async def confine_process(self, writable: Mapping[str, str], directory: str) -> list[str]:
        return []

    async def agent_command(self) -> list[str]:
        return self.command

    async def note(self, message: str) -> None:
        if message not in self.notes:
            self.notes.append(message)

    async def progress(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    directory = tmp_path / "processes"
    directory.mkdir(mode=0o700)
    return FakeHost(directory=directory)


@dataclass(kw_only=True)
class Terraform:
    """Runs `terraform` in a directory, with the provider served by this very test."""

    directory: Path
    reattach: str
    sources: tuple[tuple[str, str], ...] = (("kled", "kled"),)
    program: tuple[str, ...] = ("terraform",)

    async def __call__(self, *arguments: str, code: int | None = 0) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_REATTACH_PROVIDERS": self.reattach,
        }
        done = await trio.run_process(
            [*self.program, *arguments],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output = (done.stdout or b"").decode()
        assert code is None or done.returncode == code, output
        return output

    def write(self, text: str) -> None:
        sources = (
            f'    {source[1]} = {{ source = "{"/".join(source)}" }}\n' for source in self.sources
        )
        head = f"terraform {{\n  required_providers {{\n{''.join(sources)}  }}\n}}\n"
        (self.directory / "main.tf").write_text(head + text)

    def state(self) -> dict[str, Any]:
        saved = json.loads((self.directory / "terraform.tfstate").read_text())
        return {f"{r['type']}.{r['name']}": r for r in saved["resources"] if r["instances"]}

    def attributes(self, address: str) -> dict[str, Any]:
        """The attributes of a resource's first instance, as the state has them."""
        return dict(self.state()[address]["instances"][0]["attributes"])


def start_victim() -> subprocess.Popen[bytes]:
    """A process to name in the reattach data: Terraform may kill it, so it is never ourselves."""
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


Serve = Callable[..., Awaitable[None]]
KLED_ADDRESSES = {address: kled_provider() for address in KLED.addresses}


@asynccontextmanager
async def open_terraform(
    host: FakeHost, directory: Path, providers: Mapping[str, Provider | Serve] = KLED_ADDRESSES
) -> AsyncIterator[Terraform]:
    """Serve each provider under its address, as long as the context lasts; one may serve itself."""
    victim = start_victim()
    reattach, sources = {}, set()
    try:
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            for number, (address, provider) in enumerate(providers.items()):
                path = directory / f"{number}.sock"
                sock = trio.socket.socket(trio.socket.AF_UNIX)
                await sock.bind(str(path))
                sock.listen()
                listener = await stack.enter_async_context(trio.SocketListener(sock))
                serve = (
                    functools.partial(serve_provider, provider)
                    if isinstance(provider, Provider)
                    else provider
                )
                await nursery.start(serve, listener, host)
                namespace, name = address.split("/")[1:]
                sources.add((namespace, name))
                reattach[address] = {
                    "Protocol": "grpc",
                    "ProtocolVersion": 6,
                    "Pid": victim.pid,
                    "Test": True,
                    "Addr": {"Network": "unix", "String": str(path)},
                }
            yield Terraform(
                directory=directory, reattach=json.dumps(reattach), sources=tuple(sorted(sources))
            )
    finally:
        victim.kill()
        victim.communicate()


@pytest.fixture
async def terraform(host: FakeHost, tmp_path: Path) -> AsyncIterator[Terraform]:
    directory = tmp_path / "tf"
    directory.mkdir()
    async with open_terraform(host, directory) as found:
        yield found


@pytest.fixture(scope="session")
def containerd() -> Iterator[PrivateContainerd]:
    """One for all tests, which leave nothing in it; in a short path, because of its sockets."""
    with tempfile.TemporaryDirectory(prefix="kc-") as name, open_containerd(Path(name)) as opened:
        yield opened
