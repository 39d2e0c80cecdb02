"""The machine that the resources are made on: its owner's file, and its containerd."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary

import trio

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.caller import ContainerdCaller, ContainerdError
from kled_provider.kata.oom import keep_oom_marks
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.kata.owner.loading import load_owner_file


class KataMachine:
    """What every resource of the provider is given.

    `owner` reads the owner's file anew each time, so that a mistake in it is told where it is met.
    The containerd works while `serve` runs.
    """

    def __init__(self, load: Callable[[], OwnerFile] = load_owner_file) -> None:
        self._load = load
        self._callers: dict[tuple[str, str], ContainerdCaller] = {}
        self._marking: set[tuple[str, str]] = set()
        self._nursery: trio.Nursery | None = None
        self._starting = trio.Lock()
        self._turns: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    def turn(self, of: str) -> trio.Lock:
        """Return the lock that whoever makes or removes something of that name holds meanwhile.

        Of a resource that was renamed Terraform destroys the old one while it creates the new one.
        """
        return self._turns.setdefault(of, trio.Lock())

    def owner(self) -> OwnerFile:
        """Read what the owner wrote. Raises OwnerFileError."""
        return self._load()

    async def containerd(self, owner: OwnerFile | None = None) -> ContainerdApi:
        """Reach the containerd that the owner names, as just read. Raises OwnerFileError."""
        named = (owner or self.owner()).containerd
        key = (named.address, named.namespace)
        async with self._starting:
            if key not in self._callers:
                if self._nursery is None:
                    raise RuntimeError("a containerd is asked for outside of KataMachine.serve")
                caller = ContainerdCaller(named.address, named.namespace)
                await self._nursery.start(caller.serve)
                self._callers[key] = caller  # not before: others would ask one that does not work
            api = ContainerdApi(self._callers[key], named.snapshotter)
            if self._nursery is not None and key not in self._marking:
                self._marking.add(key)
                self._nursery.start_soon(self._mark, api, key)
        return api

    async def _mark(self, api: ContainerdApi, key: tuple[str, str]) -> None:
        """Mark what is OOM-killed. One whose containerd ends begins anew when that is asked."""
        try:
            await keep_oom_marks(api, key[1])
        except ContainerdError:
            pass  # whoever asks next is told
        finally:
            self._marking.discard(key)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the connections to containerd until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None
                self._callers.clear()
