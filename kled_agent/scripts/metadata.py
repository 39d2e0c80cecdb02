"""The metadata of a workspace: small scripts of the template, run at intervals.

The newest value of each is kept and told; one whose script hangs holds up no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Never

import trio

from kled_agent.scripts.running import Ending, Runner
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.agent_spec import MetadataItem
from kled_wire.control.link import ControlLink

# The bytes that are read of a script's output; a character of UTF-8 takes up to four.
_READ_MAX: Final = 4 * limits.METADATA_VALUE_MAX
# The least time that a script has. One that still runs when it is due again is ended.
_LEAST_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataResult:
    """The result of one run; `at` is its end by Trio's clock."""

    value: str
    error: str
    took_s: float
    at: float

    def message(self, key: str, now: float) -> messages.MetadataFound:
        """As the coordinator is told."""
        return messages.MetadataFound(
            key=key,
            value=self.value,
            error=self.error,
            took_s=self.took_s,
            age_s=now - self.at,
        )


class MetadataScripts:
    """Runs the items of the spec that is in force, each in a task of its own."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._items: tuple[MetadataItem, ...] = ()
        self._found: dict[str, MetadataResult] = {}
        self._set = trio.Event()
        self._news = trio.Event()

    def set_items(self, items: Sequence[MetadataItem]) -> None:
        """Run these from now on; what is the same goes on as it was."""
        if tuple(items) == self._items:
            return
        self._items = tuple(items)
        keys = {item.key for item in items}
        self._found = {key: found for key, found in self._found.items() if key in keys}
        self._set.set()
        self._set = trio.Event()

    async def serve(self) -> Never:
        """Run the items until cancelled."""
        while True:
            changed = self._set
            async with trio.open_nursery() as nursery:
                for item in self._items:
                    nursery.start_soon(self._repeat, item)
                await changed.wait()
                nursery.cancel_scope.cancel()

    async def _repeat(self, item: MetadataItem) -> None:
        """Run one item at its interval; 0 is once."""
        while True:
            began = trio.current_time()
            await self._run(item, began)
            if item.interval_s <= 0:
                return
            await trio.sleep_until(max(began + item.interval_s, trio.current_time() + _LEAST_S))

    async def _run(self, item: MetadataItem, began: float) -> None:
        printed = bytearray()

        def deliver(data: bytes) -> None:
            printed.extend(data[: _READ_MAX - len(printed)])

        ending = await self._runner.run(
            f"metadata-{item.key}",
            item.script,
            deliver,
            timeout_s=item.timeout_s or max(item.interval_s, _LEAST_S),
        )
        now = trio.current_time()
        value = printed.decode("utf-8", "replace").strip()[: limits.METADATA_VALUE_MAX]
        self._found[item.key] = MetadataResult(
            value=value, error=_error(ending), took_s=now - began, at=now
        )
        self._news.set()
        self._news = trio.Event()

    async def tell(self, link: ControlLink) -> Never:
        """Tell the newest of each over this link until cancelled. Raises LinkClosed."""
        told: dict[str, MetadataResult] = {}
        while True:
            news = self._news
            for key, found in list(self._found.items()):
                if told.get(key) is not found:
                    told[key] = found
                    await link.send(found.message(key, trio.current_time()))
            await news.wait()


def _error(ending: Ending) -> str:
    if ending.state == "succeeded":
        return ""
    return ending.note or f"it ended with exit code {ending.exit_code}"
