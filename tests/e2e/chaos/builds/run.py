"""One run: builds go on while trouble comes as planned, and all is compared after each of them."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.e2e.chaos.builds.load import Api, Budget, Owner
from tests.e2e.chaos.builds.plan import KINDS
from tests.e2e.chaos.builds.report import BuildReport
from tests.e2e.chaos.builds.trouble import BuildTroublemaker
from tests.e2e.chaos.builds.world import BuildWorld, open_build_world
from tests.e2e.chaos.inflicting import inflict_all
from tests.e2e.chaos.plan import make_plan
from tests.kit.processes import environment_of

_OWNERS = 4
# Longer than any run: it ends when its builds have been made.
_PLAN_S = 7200.0


def run_builds(
    seed: int,
    count: int,
    only: Sequence[str],
    say: Callable[[str], None],
    *,
    postgres: bool = False,
    pace_s: float = 5.0,
    log: Path | None = None,
) -> BuildReport:
    """Everything from nothing to nothing; `say` is told what happens meanwhile.

    A new trouble begins every `pace_s` or so, of `only` or of all kinds. `log` is where the
    coordinator's log is kept.
    """
    plan = make_plan(seed, _PLAN_S, only or list(KINDS), pace_s=pace_s, kinds=KINDS)
    began = time.monotonic()
    with open_build_world(postgres=postgres) as world, _api(world) as api:
        owners = [Owner(f"box{n}", world, api, seed, say) for n in range(_OWNERS)]
        maker = BuildTroublemaker(world, api)
        enough = threading.Event()
        budget = Budget(left=count)
        builders = threading.Thread(target=_work, args=(owners, budget, enough))
        builders.start()
        try:
            happened = inflict_all(maker.inflict, plan, KINDS, say, enough)
        finally:
            builders.join()
        say("         all trouble is over")
        if not any(owner.failed for owner in owners):
            _each(owners, lambda owner: owner.finish())
        if log is not None:
            shutil.copy(world.site.log, log)
        return BuildReport(
            seed=seed,
            postgres=postgres,
            seconds=time.monotonic() - began,
            happened=happened,
            compared=[one for owner in owners for one in owner.compared],
            stuck=[str(owner.failed) for owner in owners if owner.failed],
            left=[] if any(owner.failed for owner in owners) else [*_left(world)],
            killed=maker.met,
        )


def _work(owners: Sequence[Owner], budget: Budget, enough: threading.Event) -> None:
    _each(owners, lambda owner: owner.work(budget))
    enough.set()


def _each(owners: Sequence[Owner], what: Callable[[Owner], None]) -> None:
    threads = [threading.Thread(target=what, args=(owner,)) for owner in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def _api(world: BuildWorld) -> Iterator[Api]:
    api = Api(world.site.url, world.site.ask("token", "create", "chaos")["token"])
    try:
        yield api
    finally:
        api.close()


def _left(world: BuildWorld) -> Iterator[str]:
    """What is there though every workspace was deleted."""
    for name in ("runs", "processes", "errored-states"):
        directory = world.site.data / name
        if directory.is_dir():
            yield from (f"{name}/{path.name} is left" for path in directory.iterdir())
    for process in world.site.processes():
        if "KLED_WORKSPACE_ID" in environment_of(process):
            yield f"process {process.pid} of no workspace: {' '.join(process.cmdline())[:200]}"
