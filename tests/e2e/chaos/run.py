"""One run: the loads begin, trouble comes as planned, and then all must end as if nothing was."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.e2e.chaos.forwarded import Forward
from tests.e2e.chaos.inflicting import inflict_all
from tests.e2e.chaos.load import GO_ON_S, Bulk, Load, Session, Sftp, Shell
from tests.e2e.chaos.plan import KINDS, all_kinds, make_plan
from tests.e2e.chaos.report import Fate, Report
from tests.e2e.chaos.trouble import Troublemaker
from tests.e2e.chaos.world import World, open_world
from tests.kit.site import BIN
from tests.kit.waiting import wait_until

_BULK_BYTES_PER_S = 8_000_000
# How programs end whose stream an agent has forgotten. ssh's says why on a terminal alone.
_SSH_TOLD = (255, "")
_KLED_TOLD = (7, "the agent was restarted")


def make_loads(world: World) -> list[Load]:
    """One of each thing that people do."""
    ssh: list[str | Path] = [*world.topology.site.ssh_words(), "dev.kled"]
    inside: list[str | Path] = [BIN / "kled", "exec", "dev"]
    return [
        Shell("openssh shell", world, [*ssh, "sh"], _SSH_TOLD),
        Shell("kled shell", world, [*inside, "sh"], _KLED_TOLD),
        Session("named session", world),
        Sftp("sftp", world, _SSH_TOLD),
        Forward("forward", world),
        Bulk("openssh bulk", world, [*ssh, "cat"], _SSH_TOLD, _BULK_BYTES_PER_S),
        Bulk("kled bulk", world, [*inside, "cat"], _KLED_TOLD, _BULK_BYTES_PER_S // 2),
    ]


def run(
    seed: int,
    seconds: float,
    only: Sequence[str],
    say: Callable[[str], None],
    *,
    tls: bool = False,
    pace_s: float = 5.0,
) -> Report:
    """Everything from nothing to nothing; `say` is told what happens meanwhile.

    A new trouble begins every `pace_s` or so, of `only` or of all kinds. With `tls`, TLS ends at
    the coordinator.
    """
    plan = make_plan(seed, seconds, only or all_kinds(tls=tls), pace_s=pace_s)
    with open_world(tls=tls) as world:
        loads = make_loads(world)
        for load in loads:
            load.start()
        try:
            for load in loads:
                wait_until(f"the {load.name} runs", load.has_begun, within_s=60)
            began = time.monotonic()
            happened = inflict_all(Troublemaker(world, loads).inflict, plan, KINDS, say)
        finally:
            for load in loads:
                load.stopping.set()
            deadline = time.monotonic() + GO_ON_S
            for load in loads:
                load.finish(deadline)
        return Report(
            seed=seed,
            tls=tls,
            seconds=time.monotonic() - began,
            resumes=world.agent.count("stream_resumed"),
            moves=world.agent.count("stream_direct"),
            happened=happened,
            fates=[
                Fate(
                    name=load.name,
                    bytes_total=load.bytes_total,
                    checks=load.checks,
                    anew=load.anew,
                    lost=load.lost,
                    checked_s=load.checked_at - began,
                    lost_s=load.lost_at - began if load.lost else 0.0,
                )
                for load in loads
            ],
        )
