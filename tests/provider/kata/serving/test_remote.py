"""The provider by the service of root's: a worker passes on what Terraform and the person say."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_provider.host import HostError
from kled_provider.kata.output.keeping import outputs_of
from kled_provider.kata.owner.loading import load_owner_file
from kled_provider.kata.serving.lines import LineStream
from kled_provider.kata.serving.remote import (
    clear_remote,
    examine_remote,
    follow_remote,
    output_remote,
    serve_remote,
)
from kled_provider.serve import KATA
from tests.kit.waiting import wait_until
from tests.provider.conftest import open_terraform

pytestmark = pytest.mark.slow

TEMPLATE = """
resource "kata_image" "base" {
  name    = "kled.test/busybox:1"
  archive = "%s/images/busybox.tar"
}
resource "kata_container" "ws" {
  name    = "ws"
  image   = kata_image.base.id
  command = ["/bin/sh", "-c", "echo said; exec sleep 1000"]
  memory  = 128
  runtime { handler = "runc" }
}
"""


@pytest.fixture
def service(platform: Any, tmp_path: Path) -> Iterator[str]:
    """The program, at a socket of its own."""
    path = str(tmp_path / "service.sock")
    program = [sys.executable, "-m", "kled_provider.kata_program", "serve", path]
    with subprocess.Popen(program, env={**os.environ, "KLED_KATA_FILE": str(platform.file)}) as run:
        wait_until("it listens", lambda: Path(path).exists())
        try:
            yield path
        finally:
            run.terminate()


@pytest.fixture
async def remote(host: Any, service: str, tmp_path: Path) -> AsyncIterator[Any]:
    directory = tmp_path / "tf"
    directory.mkdir()
    serve = partial(_serve, service)
    async with open_terraform(host, directory, dict.fromkeys(KATA.addresses, serve)) as found:
        yield found


async def _serve(path: str, listener: Any, host: Any, *, task_status: Any) -> None:
    await serve_remote(listener, host, path, task_status=task_status)


async def test_containers_are_made_through_it(
    host: Any, remote: Any, service: str, platform: Any
) -> None:
    remote.write(TEMPLATE % platform.directory)
    await remote("apply", "-auto-approve")
    assert "No changes" in await remote("plan", "-detailed-exitcode")
    assert "Starting container ws" in host.messages
    (made,) = platform.containerd.names("containers")
    with trio.fail_after(20):
        while await output_remote("w-1", "ws", 1000, service) != b"said\n":
            await trio.sleep(0.05)
    begun = await follow_remote("w-1", "ws", "", 1000, service)
    assert begun is not None
    assert begun[0] == b"said\n"
    with (platform.directory / "run/outputs").joinpath(f"{made}.fifo").open("wb") as printed:
        printed.write(b"more\n")
    assert (await follow_remote("w-1", "ws", begun[1], 1000, service) or begun)[0] == b"more\n"
    assert await follow_remote("w-1", "other", "", 1000, service) is None
    assert any(line["state"] == "ok" for line in await examine_remote(service))
    await clear_remote("w-1", service)
    assert platform.containerd.names("containers") == []


async def test_a_socket_of_nobody_is_said_by_the_operation(
    host: Any, platform: Any, tmp_path: Path
) -> None:
    directory = tmp_path / "tf"
    directory.mkdir()
    serve = partial(_serve, "/run/none.sock")
    async with open_terraform(host, directory, dict.fromkeys(KATA.addresses, serve)) as terraform:
        terraform.write(TEMPLATE % platform.directory)
        said = await terraform("apply", "-auto-approve", "-no-color", code=1)
    assert "There is no service of the provider kata at /run/none.sock" in " ".join(said.split())
    await clear_remote("w-1", "/run/none.sock")


async def test_strangers_get_nothing_from_it(service: str) -> None:
    for first in (
        b"\n",
        b"[]\n",
        b"{}\n",
        b"\xff\n",
        b'{"kind": "stream", "token": "x"}\n',
        b'{"kind": "run"}\n',
        b'{"kind": "run", "workspace": 1}\n',
        b'{"kind": "clear"}\n',
        b'{"kind": "output", "workspace": "w", "name": "n", "most_bytes": "x"}\n',
        b'{"kind": "output", "workspace": "w", "name": "../n", "most_bytes": 1e400}\n',
        b'{"kind": "follow", "workspace": "w-1", "name": "ws", "most_bytes": 1}\n',
        b'{"kind": "agent_end"}\n',
    ):
        async with await trio.open_unix_socket(service) as stream:
            with trio.fail_after(10):
                await stream.send_all(first)
                answered = await LineStream(stream).receive()
        assert answered is None or "error" in answered
    with pytest.raises(HostError, match="is not known"):
        await output_unknown(service)


_KILLED = """
import os, signal, sys, trio
from kled_provider.kata.output.keeping import outputs_of
from kled_provider.kata.owner.loading import load_owner_file

async def main():
    await outputs_of(load_owner_file(sys.argv[1])).open("ghost")
    os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


async def test_a_run_begins_by_collecting_what_killed_ones_have_left(
    service: str, platform: Any
) -> None:
    root = Path(__file__).parents[4]
    subprocess.run([sys.executable, "-c", _KILLED, str(platform.file)], check=False, cwd=root)
    outputs = outputs_of(load_owner_file(str(platform.file)))
    assert "ghost" in outputs.recorded()
    async with await trio.open_unix_socket(service) as stream:
        lines = LineStream(stream)
        await lines.send({"kind": "run", "workspace": {"id": "w-1"}})
        assert "token" in (await lines.receive() or {})
        with trio.fail_after(20):
            while "ghost" in outputs.recorded():
                await trio.sleep(0.05)


async def output_unknown(service: str) -> None:
    async with await trio.open_unix_socket(service) as stream:
        lines = LineStream(stream)
        await lines.send({"kind": base64.b64encode(b"x").decode()})
        said = await lines.receive() or {}
        raise HostError(str(said.get("error")))
