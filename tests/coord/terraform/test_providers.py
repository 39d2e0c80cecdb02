"""Serving providers for one run: found by entry point, reached by socket, ended in time."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_coord.terraform import providers
from kled_coord.terraform.providers import load_providers, open_reattach
from kled_wire.errors import ConfigError


@dataclass(frozen=True)
class FakeProvider:
    """Says its host's name to whoever connects, and goes on until released."""

    release: trio.Event
    name: str = "fake"
    addresses: tuple[str, ...] = ("registry.terraform.io/a/fake", "registry.opentofu.org/a/fake")

    async def serve(self, listener: Any, host: Any, *, task_status: Any) -> None:
        task_status.started()
        try:
            stream = await listener.accept()
        except trio.ClosedResourceError:
            return
        async with stream:
            await stream.send_all(host.encode())
            await self.release.wait()

    async def clear(self, host: Any) -> None:
        raise NotImplementedError

    async def wait_agent_end(self, *_where: str) -> tuple[str, tuple[str, ...]]:
        raise NotImplementedError

    async def examine(self) -> list[Mapping[str, str]]:
        return [{"state": "ok", "what": "it", "text": "is \x1b there", "hint": ""}]

    async def container_output(self, *_which: Any) -> bytes | None:
        raise NotImplementedError

    async def follow_output(self, *_which: Any) -> tuple[bytes, str] | None:
        raise NotImplementedError


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_run_has_a_socket_and_a_victim(tmp_path: Path) -> None:
    provider = FakeProvider(trio.Event())
    async with open_reattach("the host", tmp_path, [provider]) as text:
        data = json.loads(text)
        assert set(data) == set(provider.addresses)
        entry = data["registry.terraform.io/a/fake"]
        assert (entry["Protocol"], entry["ProtocolVersion"], entry["Test"]) == ("grpc", 6, True)
        assert entry["Pid"] != os.getpid()
        assert is_alive(entry["Pid"])
        async with await trio.open_unix_socket(entry["Addr"]["String"]) as stream:
            assert await stream.receive_some() == b"the host"
            provider.release.set()
    assert not is_alive(entry["Pid"])


async def test_operations_may_finish_after_the_run_is_cancelled(tmp_path: Path) -> None:
    provider = FakeProvider(trio.Event())
    finished = False
    with trio.fail_after(10), trio.CancelScope() as scope:
        async with open_reattach("h", tmp_path, [provider]) as text:
            path = next(iter(json.loads(text).values()))["Addr"]["String"]
            stream = await trio.open_unix_socket(path)
            await stream.receive_some()
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                provider.release.set()
    with trio.fail_after(1):
        finished = await stream.receive_some() == b""
        await stream.aclose()
    assert scope.cancelled_caught
    assert finished


async def test_every_provider_ends_with_a_run_that_is_cancelled(tmp_path: Path) -> None:
    """A cancelled run closes all listeners: the first close alone would be interrupted."""
    providers = [FakeProvider(trio.Event(), name=name) for name in ("one", "two")]
    with trio.fail_after(10), trio.CancelScope() as scope:
        async with open_reattach("h", tmp_path, providers):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_run_that_is_cancelled_as_it_begins_ends_too(tmp_path: Path) -> None:
    with trio.move_on_after(10) as limit, trio.CancelScope() as scope:

        class Cancelling(FakeProvider):
            async def serve(self, listener: Any, host: Any, *, task_status: Any) -> None:
                scope.cancel()
                with trio.CancelScope(deadline=limit.deadline):  # who serves is shielded
                    await super().serve(listener, host, task_status=task_status)

        async with open_reattach("h", tmp_path, [Cancelling(trio.Event())]):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not limit.cancel_called


async def test_operations_that_do_not_finish_are_cut_off(tmp_path: Path) -> None:
    hanging = [FakeProvider(trio.Event())]
    with trio.fail_after(10):
        async with open_reattach("h", tmp_path, hanging, finish_s=0.1) as text:
            path = next(iter(json.loads(text).values()))["Addr"]["String"]
            stream = await trio.open_unix_socket(path)
            await stream.receive_some()
        assert await stream.receive_some() == b""
        await stream.aclose()


async def test_the_bodys_error_is_raised_as_itself(tmp_path: Path) -> None:
    async def fail() -> None:
        async with open_reattach("h", tmp_path, [FakeProvider(trio.Event())]):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fail()


async def test_a_victim_that_terraform_killed_is_no_trouble(tmp_path: Path) -> None:
    provider = FakeProvider(trio.Event())
    provider.release.set()
    async with open_reattach("h", tmp_path, [provider]) as text:
        entry = next(iter(json.loads(text).values()))
        os.kill(entry["Pid"], signal.SIGKILL)
        async with await trio.open_unix_socket(entry["Addr"]["String"]) as stream:
            assert await stream.receive_some() == b"h"


async def test_a_path_too_long_for_a_socket_is_avoided(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    provider = FakeProvider(trio.Event())
    provider.release.set()
    async with open_reattach("h", deep, [provider]) as text:
        path = next(iter(json.loads(text).values()))["Addr"]["String"]
        assert len(path) <= providers.MAX_SOCKET_PATH_BYTES
        async with await trio.open_unix_socket(path) as stream:
            await stream.receive_some()
    with pytest.raises(FileNotFoundError):
        await trio.open_unix_socket(path)


def test_providers_are_found_by_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "fake-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[kled.terraform_providers]\nkled = kled_provider.serve:KLED\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "kled" in [provider.name for provider in load_providers()]
    (info / "entry_points.txt").write_text("[kled.terraform_providers]\nbad = no.such:THING\n")
    with pytest.raises(ConfigError, match=r"bad \(no.such:THING\) does not load"):
        load_providers()
