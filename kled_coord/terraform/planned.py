"""Looks at all that a plan would make: a provider sees one resource at a time."""

from __future__ import annotations

from pathlib import Path

import trio

from kled_coord.terraform.session import TerraformSession
from kled_coord.terraform.source.agents import planned_agents, refuse_shared_names
from kled_coord.terraform.source.placing import place_of
from kled_coord.terraform.source.untrusted import read_sources


async def check_agents(session: TerraformSession, work: Path) -> None:
    """After a plan of the template in `work`: raise InputError("agent_name_taken").

    Terraform is asked for the names only where the plan told of several agents.
    """
    if len(session.agents) < 2:
        return
    agents = planned_agents(await session.show_plan())
    sources = await trio.to_thread.run_sync(read_sources, work)
    refuse_shared_names(agents, {address: place_of(address, sources) for _, address in agents})
