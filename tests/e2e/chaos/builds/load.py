"""What goes on all the time: owners start, stop and delete their workspaces again and again."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from sqlalchemy.exc import SQLAlchemyError

from tests.e2e.chaos.builds.truth import Facts, find_faults
from tests.e2e.chaos.builds.world import BuildWorld

# Nothing takes longer once all trouble is over; before, each may last and come again. Seconds.
PATIENCE_S: Final = 240.0
_LOOK_AGAIN_S: Final = 0.25
_AGAIN_S: Final = 1.0
# Longer than it takes to look again for states that are not saved yet.
_SAVED_S: Final = 30.0
_ENDED: Final = frozenset({"succeeded", "failed", "canceled"})
_NEXT: Final = {
    "start": ("stop", "stop", "start", "delete"),
    "stop": ("start", "start", "delete"),
    "delete": ("start",),
}


class StuckError(Exception):
    """Something does not end, or cannot be done at all."""


class Api:
    """The coordinator's, which may be away at any time."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=60)

    def get(self, path: str) -> httpx.Response:
        """One request, whatever comes of it. Raises httpx.HTTPError."""
        return self._client.get(path)

    def post(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """One request, whatever comes of it. Raises httpx.HTTPError."""
        return self._client.post(path, json=body)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A build that has ended, and what was not as it should be then."""

    workspace: str
    transition: str
    outcome: str
    error: str | None
    took_s: float
    faults: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Budget:
    """How many builds are begun in all."""

    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """Whether there is one more."""
        with self.lock:
            self.left -= 1
            return self.left >= 0


class Owner:
    """One workspace at a time, always under the same name, in a thread of its own."""

    def __init__(
        self, name: str, world: BuildWorld, api: Api, seed: int, say: Callable[[str], None]
    ) -> None:
        self.name = name
        self.compared: list[Compared] = []
        self.failed: Exception | None = None
        self._world = world
        self._api = api
        self._chance = random.Random(f"{seed} {name}")
        self._say = say
        self._id: str | None = None
        self._last = "delete"

    def work(self, budget: Budget) -> None:
        """As many builds as there are in the budget."""
        try:
            while budget.take():
                self._build(self._chance.choice(_NEXT[self._last]))
        except (StuckError, AssertionError) as exc:
            self.failed = exc

    def finish(self) -> None:
        """Nothing is in the way any more: each transition must succeed now."""
        try:
            for transition in ("start", "stop", "start", "delete"):
                self._must(transition)
        except (StuckError, AssertionError) as exc:
            self.failed = exc

    def _must(self, transition: str) -> None:
        made = self._build(transition)
        if made.outcome != "succeeded":
            raise StuckError(f"{self.name}: {transition} {made.outcome}: {made.error}")

    def _build(self, transition: str) -> Compared:
        began = time.monotonic()
        build = self._wait_end(self._begin(transition))
        assert self._id is not None
        self._wait_saved(build)
        facts = self._look(transition, build)
        compared = Compared(
            workspace=self.name,
            transition=transition,
            outcome=build["status"],
            error=build["error"],
            took_s=time.monotonic() - began,
            faults=tuple(find_faults(facts)),
        )
        self.compared.append(compared)
        self._say(f"         {self.name}: {transition} {compared.outcome}: {compared.error or ''}")
        for fault in compared.faults:
            self._say(f"         {self.name}: FAULT: {fault}")
        if transition == "delete" and facts.status is None:
            self._id = None
        self._last = transition if build["status"] == "succeeded" else "start"
        if build["status"] != "succeeded":
            time.sleep(_AGAIN_S)  # as people do: not a hundred times while a disk is full
        return compared

    def _wait_saved(self, build: dict[str, Any]) -> None:
        """Until what the build left is saved, or cannot be now.

        A state that neither database nor disk took is saved some time after its build has ended;
        no other build starts before.
        """
        deadline = time.monotonic() + _SAVED_S
        while any(self._world.runs.glob(f"{build['id']}.*")) and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_S)

    # --- what an API that may be away is asked

    def _begin(self, transition: str) -> dict[str, Any]:
        """Queue a build; its row. An answer that was lost is looked for in what there is."""
        before = self._newest()
        for _ in self._trying(f"the {transition} is not taken"):
            try:
                if before is None:
                    body = {"name": self.name, "template": "cloud"}
                    answer = self._api.post("/workspaces", body)
                else:
                    path = f"/workspaces/{self.name}/builds"
                    answer = self._api.post(path, {"transition": transition})
            except httpx.HTTPError:
                answer = None
            now = self._newest()
            if now is not None and (before is None or now["id"] != before["id"]):
                self._id = now["workspace_id"]
                return now
            if now is None and before is not None:
                raise StuckError(f"{self.name} is gone, and nobody deleted it")
            refused = answer is not None and 400 <= answer.status_code < 500
            if refused and answer is not None and answer.status_code not in {408, 429}:
                raise StuckError(f"{self.name}: {transition}: {answer.text[:300]}")
        raise AssertionError

    def _newest(self) -> dict[str, Any] | None:
        """The newest build of the workspace; None where there is no such workspace."""
        found = self._read(f"/workspaces/{self.name}", "the workspace cannot be read")
        return None if found is None else found["latest_build"]

    def _wait_end(self, build: dict[str, Any]) -> dict[str, Any]:
        what = f"{build['transition']} {build['id']} does not end"
        for _ in self._trying(what):
            found = self._read(f"/builds/{build['id']}", what)
            if found is None:
                raise StuckError(f"{self.name}: the API has forgotten {build['id']}")
            if found["status"] in _ENDED:
                return found
        raise AssertionError

    def _look(self, transition: str, build: dict[str, Any]) -> Facts:
        assert self._id is not None
        for _ in self._trying("nothing can be found out"):
            found = self._read(f"/workspaces/{self.name}", "the workspace cannot be read")
            status = None if found is None else found["status"]
            with contextlib.suppress(SQLAlchemyError):
                return self._world.facts(self._id, transition, build["status"], status)
        raise AssertionError

    def _read(self, path: str, what: str) -> dict[str, Any] | None:
        """An answer, however often it has to be asked for; None where there is no such thing."""
        for _ in self._trying(what):
            with contextlib.suppress(httpx.HTTPError):
                answer = self._api.get(path)
                if answer.status_code == 404:
                    return None
                if answer.is_success:
                    found: dict[str, Any] = answer.json()
                    return found
        raise AssertionError

    def _trying(self, what: str) -> Iterator[int]:
        deadline = time.monotonic() + PATIENCE_S
        for number in itertools.count():
            if number:
                time.sleep(_LOOK_AGAIN_S)
            if time.monotonic() > deadline:
                raise StuckError(f"{self.name}: {what} within {PATIENCE_S:.0f} s")
            yield number
