"""Assembles the services of one coordinator for routes and streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

import trio
from argon2 import PasswordHasher

from kled_coord.builds.previews import PreviewPlaces, Previews
from kled_coord.builds.queue import Queue
from kled_coord.builds.renaming import Renaming
from kled_coord.builds.runner import (
    BuildPlanner,
    BuildRunner,
    ParameterAsker,
    TemplateChecker,
)
from kled_coord.builds.running.runs import RunDirectories
from kled_coord.builds.running.secrets import Secrets
from kled_coord.builds.service import Builds
from kled_coord.builds.states.backend import States
from kled_coord.builds.states.versions import StateVersions
from kled_coord.builds.unused import Unused
from kled_coord.builds.waiting import AgentWait
from kled_coord.bundles.store import BundleStore
from kled_coord.ca.certificates import Authority
from kled_coord.ca.keys import load_authority_key
from kled_coord.changes import Changes
from kled_coord.config import CoordinatorConfig
from kled_coord.identity.audit import Audit
from kled_coord.identity.endings import Endings
from kled_coord.identity.keys import Keys
from kled_coord.identity.logins import Logins
from kled_coord.identity.openings import Openings
from kled_coord.identity.passwords import Passwords
from kled_coord.identity.service import IdentityService
from kled_coord.identity.users import Users
from kled_coord.metrics import Metrics
from kled_coord.sandbox.choice import SandboxChoice
from kled_coord.scripts.service import ScriptIntake
from kled_coord.scripts.view import ScriptView
from kled_coord.sources import Clock, Ids, Monotonic, RandomBytes
from kled_coord.store.engine import Store
from kled_coord.store.sealing import Sealer
from kled_coord.templates.pushing import Pushing
from kled_coord.templates.questions import Questions
from kled_coord.templates.service import Templates
from kled_coord.templates.upgrade import list_old_variables
from kled_coord.workspaces.agents import Agents
from kled_coord.workspaces.key_holders import AgentKeys
from kled_coord.workspaces.presence import Registry
from kled_coord.workspaces.quotas import UserQuotas
from kled_coord.workspaces.service import Workspaces
from kled_coord.workspaces.sessions import Sessions
from kled_coord.workspaces.specs import Specs


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that a test replaces: time, randomness, costs, Terraform."""

    clock: Clock
    monotonic: Monotonic
    random_bytes: RandomBytes
    hasher: PasswordHasher
    run_build: BuildRunner
    check_template: TemplateChecker
    ask_template: ParameterAsker
    plan_build: BuildPlanner
    sandbox: SandboxChoice


@dataclass(slots=True, kw_only=True)
class Readiness:
    """Whether connections are accepted; `draining` is set when no new ones are."""

    listening: bool = False
    draining: trio.Event = field(default_factory=trio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One of each. `config` has its defaults filled in (`CoordinatorConfig.with_defaults`)."""

    config: CoordinatorConfig
    bundles: BundleStore
    clock: Clock
    ids: Ids
    metrics: Metrics
    store: Store
    audit: Audit
    identity: IdentityService
    endings: Endings
    logins: Logins
    users: Users
    keys: Keys
    agent_keys: AgentKeys
    ca: Authority
    registry: Registry
    agents: Agents
    workspaces: Workspaces
    specs: Specs
    scripts: ScriptIntake
    script_view: ScriptView
    sessions: Sessions
    templates: Templates
    pushing: Pushing
    questions: Questions
    changes: Changes
    queue: Queue
    builds: Builds
    unused: Unused
    previews: Previews
    renaming: Renaming
    state_versions: StateVersions
    agent_wait: AgentWait
    states: States
    secrets: Secrets
    runs: RunDirectories
    sealer: Sealer
    run_build: BuildRunner
    sandbox: SandboxChoice
    readiness: Readiness = field(default_factory=Readiness)


class _People(TypedDict):
    """The services that know who asks."""

    audit: Audit
    identity: IdentityService
    endings: Endings
    logins: Logins
    users: Users
    keys: Keys
    agent_keys: AgentKeys


async def build_services(
    config: CoordinatorConfig,
    *,
    store: Store,
    sealing_key: bytes,
    sources: Sources,
    metrics: Metrics,
    registry: Registry,
) -> Services:
    """Put the services together over a migrated store. Raises StoreError, KledError."""
    clock, ids, changes = sources.clock, Ids(sources.random_bytes), Changes()
    sealer = Sealer(sealing_key, sources.random_bytes)
    await list_old_variables(store, sealer)
    key = await load_authority_key(
        store=store, sealer=sealer, clock=clock, ids=ids, random_bytes=sources.random_bytes
    )
    ca = Authority(key=key, clock=clock, ids=ids, user_lifetime_s=config.cert_lifetime_s)
    people = _build_people(config, store, ids, sources, registry)
    common = _Common(store=store, clock=clock, ids=ids, audit=people["audit"])
    workspaces = Workspaces(**common, changes=changes, sealer=sealer, quotas=_quotas(config))
    states = States(store=store, clock=clock, changes=changes, sealer=sealer)
    scripts = _build_scripts(store, sources, sealer, changes, registry, states)
    queue = _build_queue(store, sources, ids, changes, registry, metrics)
    workers = config.workers
    builds = Builds(**common, changes=changes, queue=queue, workspaces=workspaces, workers=workers)
    agents = Agents(**common, sealer=sealer, authority=ca, registry=registry)
    return Services(
        config=config,
        bundles=BundleStore(config.bundles),
        clock=clock,
        ids=ids,
        metrics=metrics,
        store=store,
        **people,
        ca=ca,
        registry=registry,
        agents=agents,
        workspaces=workspaces,
        **scripts,
        sessions=Sessions(**common),
        **_build_templates(config, common, sealer, sources),
        changes=changes,
        queue=queue,
        builds=builds,
        unused=Unused(store=store, clock=clock, registry=registry, builds=builds),
        **_build_around(config, sources, common, sealer, states, builds, agents, workspaces),
        agent_wait=_build_agent_wait(config, changes, registry, workspaces, builds, scripts),
        states=states,
        runs=_build_runs(config, store, sources, changes, states),
        sealer=sealer,
        run_build=sources.run_build,
        sandbox=sources.sandbox,
    )


class _Around(TypedDict):
    store: Store
    clock: Clock
    audit: Audit
    workspaces: Workspaces


class _AroundBuilds(TypedDict):
    previews: Previews
    renaming: Renaming
    state_versions: StateVersions


def _build_around(
    config: CoordinatorConfig,
    sources: Sources,
    common: _Common,
    sealer: Sealer,
    states: States,
    builds: Builds,
    agents: Agents,
    workspaces: Workspaces,
) -> _AroundBuilds:
    """What is done with a workspace's state beside its builds."""
    store, clock, audit = common["store"], common["clock"], common["audit"]
    previews = Previews(
        store=store,
        sealer=sealer,
        states=states,
        builds=builds,
        agents=agents,
        places=PreviewPlaces(
            bundles=BundleStore(config.bundles),
            access_url=config.access_url,
            processes=config.processes,
        ),
        plan_build=sources.plan_build,
        deadline_s=config.check_deadline_s,
    )
    around = _Around(store=store, clock=clock, audit=audit, workspaces=workspaces)
    return _AroundBuilds(
        previews=previews,
        renaming=Renaming(**around, previews=previews, states=states),
        state_versions=StateVersions(**around, sealer=sealer),
    )


class _ScriptParts(TypedDict):
    specs: Specs
    secrets: Secrets
    scripts: ScriptIntake
    script_view: ScriptView


def _build_scripts(
    store: Store,
    sources: Sources,
    sealer: Sealer,
    changes: Changes,
    registry: Registry,
    states: States,
) -> _ScriptParts:
    specs, clock = Specs(store=store, sealer=sealer), sources.clock
    secrets = Secrets(store=store, sealer=sealer, states=states)
    scripts = ScriptIntake(
        store=store,
        clock=clock,
        changes=changes,
        registry=registry,
        secrets=secrets.values,
        specs=specs,
    )
    view = ScriptView(store=store, clock=clock, registry=registry, specs=specs, scripts=scripts)
    return _ScriptParts(specs=specs, secrets=secrets, scripts=scripts, script_view=view)


def _build_agent_wait(
    config: CoordinatorConfig,
    changes: Changes,
    registry: Registry,
    workspaces: Workspaces,
    builds: Builds,
    scripts: _ScriptParts,
) -> AgentWait:
    return AgentWait(
        workspaces=workspaces,
        secrets=scripts["secrets"].values,
        builds=builds,
        registry=registry,
        processes=config.processes,
        changes=changes,
        view=scripts["script_view"],
    )


class _Templates(TypedDict):
    templates: Templates
    pushing: Pushing
    questions: Questions


def _build_templates(
    config: CoordinatorConfig, common: _Common, sealer: Sealer, sources: Sources
) -> _Templates:
    store, deadline_s = common["store"], config.check_deadline_s
    return _Templates(
        templates=Templates(store=store, clock=common["clock"], audit=common["audit"]),
        pushing=Pushing(
            **common,
            sealer=sealer,
            check=sources.check_template,
            check_deadline_s=deadline_s,
            access_url=config.access_url,
        ),
        questions=Questions(
            store=store,
            sealer=sealer,
            ask=sources.ask_template,
            deadline_s=deadline_s,
            access_url=config.access_url,
        ),
    )


def _build_queue(
    store: Store,
    sources: Sources,
    ids: Ids,
    changes: Changes,
    registry: Registry,
    metrics: Metrics,
) -> Queue:
    return Queue(
        store=store,
        clock=sources.clock,
        monotonic=sources.monotonic,
        ids=ids,
        changes=changes,
        registry=registry,
        metrics=metrics,
    )


def _build_runs(
    config: CoordinatorConfig, store: Store, sources: Sources, changes: Changes, states: States
) -> RunDirectories:
    return RunDirectories(
        store=store,
        clock=sources.clock,
        monotonic=sources.monotonic,
        changes=changes,
        states=states,
        directory=config.data_dir / "runs",
        kept=config.data_dir / "errored-states",
    )


def _quotas(config: CoordinatorConfig) -> UserQuotas:
    return UserQuotas(
        workspaces=config.workspaces_per_user, waiting_builds=config.waiting_builds_per_user
    )


class _Common(TypedDict):
    store: Store
    clock: Clock
    ids: Ids
    audit: Audit


def _build_people(
    config: CoordinatorConfig, store: Store, ids: Ids, sources: Sources, registry: Registry
) -> _People:
    clock, monotonic, allowed = sources.clock, sources.monotonic, config.user_keys
    audit = Audit(store=store, clock=clock, monotonic=monotonic, ids=ids)
    common = _Common(store=store, clock=clock, ids=ids, audit=audit)
    holders = AgentKeys(store=store, clock=clock, audit=audit, registry=registry, allowed=allowed)
    openings = Openings()
    endings = Endings(store=store, openings=openings, links=registry, holders=holders)
    identity = IdentityService(
        **common,
        monotonic=monotonic,
        openings=openings,
        endings=endings,
        lifetime_s=config.token_lifetime_s,
    )
    passwords = Passwords(sources.hasher)
    logins = Logins(
        **common,
        monotonic=monotonic,
        identity=identity,
        endings=endings,
        passwords=passwords,
    )
    users = Users(**common, logins=logins, endings=endings, passwords=passwords)
    keys = Keys(**common, identity=identity, holders=holders, allowed=allowed)
    return _People(
        audit=audit,
        identity=identity,
        endings=endings,
        logins=logins,
        users=users,
        keys=keys,
        agent_keys=holders,
    )
