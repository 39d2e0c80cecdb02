"""Looks at all that a plan would make: a provider sees one resource at a time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import trio

from kled_coord.terraform.session import TerraformSession
from kled_coord.terraform.source.agents import (
    is_app,
    planned_agents,
    planned_apps,
    refuse_shared_names,
    refuse_shared_slugs,
)
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


async def check_apps(session: TerraformSession, work: Path, addresses: Iterable[str]) -> None:
    """After a plan that changes what is at `addresses`: raise InputError("template_invalid").

    Only where there is one agent: a first plan does not say which of several an app belongs to.
    """
    if len(session.agents) != 1 or sum(map(is_app, addresses)) < 2:
        return
    apps = planned_apps(await session.show_plan())
    sources = await trio.to_thread.run_sync(read_sources, work)
    refuse_shared_slugs(apps, {address: place_of(address, sources) for _, address in apps})
