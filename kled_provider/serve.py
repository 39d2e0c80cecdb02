"""What the coordinator finds the providers by: an entry point for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import trio

from kled_provider.coder.provider import coder_provider
from kled_provider.host import Host
from kled_provider.kata.serving.entry import (
    clear_kata,
    container_output,
    examine_kata,
    follow_output,
    serve_kata,
)
from kled_provider.kata.serving.entry import wait_agent_end as wait_agent_container
from kled_provider.kled.processes.ending import wait_agent_end
from kled_provider.kled.processes.process import end_all
from kled_provider.kled.provider import kled_provider
from kled_provider.plugin.serving import serve_provider


async def _nothing_to_clear(_host: Host) -> None:
    """It makes nothing on this machine."""


async def _no_process_here(*_agent: str) -> NoReturn:
    """Its agents run in no process of this machine that it knows of: wait for ever."""
    await trio.sleep_forever()


async def _nothing_to_examine() -> list[Any]:
    """It asks nothing of this machine."""
    return []


async def _no_container(*_which: object) -> None:
    """It makes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """What the entry point group `kled.terraform_providers` holds."""

    name: str
    addresses: tuple[str, ...]
    serve: Callable[..., Awaitable[Any]]
    clear: Callable[..., Awaitable[Any]] = _nothing_to_clear
    wait_agent_end: Callable[..., Awaitable[Any]] = _no_process_here
    examine: Callable[[], Awaitable[Any]] = _nothing_to_examine
    container_output: Callable[..., Awaitable[Any]] = _no_container
    follow_output: Callable[..., Awaitable[Any]] = _no_container


KLED = EntryPoint(
    name="kled",
    addresses=("registry.terraform.io/kled/kled", "registry.opentofu.org/kled/kled"),
    serve=partial(serve_provider, kled_provider()),
    clear=end_all,
    wait_agent_end=wait_agent_end,
)

CODER = EntryPoint(
    name="coder",
    addresses=("registry.terraform.io/coder/coder", "registry.opentofu.org/coder/coder"),
    serve=partial(serve_provider, coder_provider()),
)

KATA = EntryPoint(
    name="kata",
    addresses=("registry.terraform.io/kled/kata", "registry.opentofu.org/kled/kata"),
    serve=serve_kata,
    clear=clear_kata,
    wait_agent_end=wait_agent_container,
    container_output=container_output,
    follow_output=follow_output,
    examine=examine_kata,
)
