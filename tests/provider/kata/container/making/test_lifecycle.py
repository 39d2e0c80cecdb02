"""A task whose shim ends while it is asked is removed all the same."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

from kled_provider.containerd.caller import ContainerdError
from kled_provider.containerd.tasks import TaskStatus
from kled_provider.grpc.status import GrpcStatus
from kled_provider.kata.container.making.lifecycle import Lifecycle


async def nothing(*_: Any, **__: Any) -> None:
    """There is none of it, or nothing to say."""


async def test_a_shim_that_ends_meanwhile_is_no_error(autojump_clock: Any) -> None:
    asked: list[str] = []

    async def find(_: str) -> Any:
        return SimpleNamespace(status=TaskStatus.RUNNING)

    async def ask(what: str) -> int:
        asked.append(what)
        if asked.count(what) == 1:
            raise ContainerdError(GrpcStatus.UNKNOWN, "ttrpc: closed: unknown")
        return 137

    api: Any = SimpleNamespace(
        containers=SimpleNamespace(find=nothing, delete=nothing),
        snapshots=SimpleNamespace(remove=nothing),
        tasks=SimpleNamespace(
            find=find, kill=nothing, wait=lambda _: ask("wait"), delete=lambda _: ask("delete")
        ),
    )
    assert await Lifecycle(api).remove("c", signal.SIGKILL, 0) == 137
    assert asked == ["wait", "delete", "delete"]
