"""Resource `kata_container`."""

from __future__ import annotations

import secrets
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final

import trio

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.containers import ContainerRecord
from kled_provider.kata.container.declared.block_rules import block_problems
from kled_provider.kata.container.declared.blocks import seconds_of
from kled_provider.kata.container.declared.schema import KATA_CONTAINER
from kled_provider.kata.container.declared.spec import build_resources, with_limits
from kled_provider.kata.container.declared.value_checks import signal_number
from kled_provider.kata.container.finding import find_places
from kled_provider.kata.container.identity import (
    ADDRESSES_LABEL,
    GENERATION_LABEL,
    LOG_LABEL,
    RESTART_LABEL,
    STOP_LABEL,
    all_labels,
    container_id,
    fingerprint,
    is_alike,
    is_kept_running,
    is_name,
    is_own_id,
    own_labels,
    template_labels,
)
from kled_provider.kata.container.making.checking import check_container
from kled_provider.kata.container.making.job import Surroundings, make_job
from kled_provider.kata.container.place import ContainerPlace, is_running
from kled_provider.kata.container.refusals import explained
from kled_provider.kata.image.named import find_named
from kled_provider.kata.image.storing import TakenImage
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.oom import OOM_LABEL
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError, raise_errors
from kled_provider.plugin.planning import ResourcePlan, plan_change
from kled_provider.plugin.resource import Context, Resource
from kled_provider.plugin.values import Values, conform_object

_SETTABLE: Final = {
    **{a.name: a for a in KATA_CONTAINER.attributes if a.is_settable},
    **{block.name: block for block in KATA_CONTAINER.blocks},
}
_FIXED_SIZE: Final = replace(
    KATA_CONTAINER,
    attributes=tuple(
        replace(a, forces_replacement=True) if a.name in ("memory", "vcpus") else a
        for a in KATA_CONTAINER.attributes
    ),
)
# Labels of facts that were found out when the container was made, or since.
_KEPT_LABELS: Final = (ADDRESSES_LABEL, LOG_LABEL, STOP_LABEL, OOM_LABEL)
_MARK_BYTES: Final = 3
_CREATE_S: Final = 600
_OTHER_S: Final = 300


class ContainerResource(Resource):
    """A container whose name is its identity: a create adopts one that was made alike."""

    type_name = "kata_container"
    schema = KATA_CONTAINER
    identity = ("name",)

    def __init__(self, machine: KataMachine) -> None:
        self._machine = machine

    def validate(self, config: Values) -> list[Diagnostic]:
        """Check what no single attribute tells too."""
        return [*super().validate(config), *block_problems(config)]

    def plan(self, prior: Values | None, config: Values) -> ResourcePlan:
        """By the schema; where the size of a VM is fixed at boot, a change of it makes a new one.

        Every VM's is taken to be, which a sandbox has: it is known whether that is so only when its
        configuration is. One that has ended and must run is made anew.
        """
        is_vm = prior is not None and bool(prior["sandbox_id"])
        schema = _FIXED_SIZE if is_vm else self.schema
        found = plan_change(schema, prior, config)
        if prior is None or found.requires_replace or not _must_run_again(prior, found.planned):
            return found
        anew = plan_change(schema, None, config).planned
        return replace(found, planned=anew, requires_replace=(("status",),))

    async def check_plan(
        self,
        context: Context,
        prior: Values | None,
        planned: Values,
    ) -> Iterable[Diagnostic]:
        """Say what will not work on this machine."""
        workspace = await context.workspace_id()
        owner = self._machine.owner()
        api = await self._machine.containerd(owner)
        _, found = await check_container(owner, planned, workspace, api)
        return found

    async def create(self, context: Context, planned: Values) -> Values:
        """Start the container, or adopt one that was started alike and runs."""
        workspace = await context.host.workspace()
        workspace_id, name = str(workspace["id"]), planned["name"]
        place = await self._place(container_id(workspace_id, name, secrets.token_hex(_MARK_BYTES)))
        runtime, problems = await check_container(place.owner, planned, workspace_id, place.api)
        raise_errors(problems)
        assert runtime is not None
        async with self._turn(workspace_id, name), _deadline(planned, "create", _CREATE_S):
            labels = self._labels(planned, workspace_id, context)
            adopted = await self._adopt(context, place, workspace_id, planned, labels)
            if adopted is not None:
                return await adopted.state(planned, runtime)
            image = await _image(place.api, planned, workspace_id)
            labels[STOP_LABEL] = image.config.stop_signal
            await context.host.progress(f"Starting container {name}")
            async with place.made():
                joined = await place.joins.join(place.id, workspace_id, planned)
                labels[ADDRESSES_LABEL] = ",".join(joined.addresses)
                if RESTART_LABEL in labels:
                    labels[LOG_LABEL] = joined.fifo
                place.directory.keep(planned)
                parent = (image.config.chain_ids() or [""])[-1]
                with explained(planned):
                    rootfs = await place.lifecycle.prepare(place.id, parent, workspace_id)
                around = Surroundings(
                    owner=place.owner,
                    runtime=runtime,
                    image=image,
                    rootfs=rootfs,
                    directory=place.directory,
                    access_url=str(workspace["access_url"]),
                    joined=joined,
                    labels=labels,
                )
                job = await trio.to_thread.run_sync(make_job, place.id, planned, around)
                with explained(planned):
                    record = await place.lifecycle.start(job)
                task = await place.api.tasks.find(place.id)
                return place.state_of((record, task), planned, runtime)

    async def _adopt(
        self,
        context: Context,
        place: ContainerPlace,
        workspace_id: str,
        planned: Values,
        labels: Mapping[str, str],
    ) -> ContainerPlace | None:
        """Find a running container that was started alike, and end all others of that name."""
        for other in await find_places(place.api, place.owner, workspace_id, planned["name"]):
            found = await other.lifecycle.find(other.id)
            if found is not None and _is_replaced(found[0], context):
                await self._clear_replaced(context, other, found[0], planned)
            elif found is not None and is_running(found) and is_alike(found[0], labels):
                kept = {n: found[0].labels[n] for n in _KEPT_LABELS if n in found[0].labels}
                await place.api.containers.set_labels(found[0], {**labels, **kept})
                return other
            else:
                await other.clear(signal.SIGKILL, 0)
        return None

    async def _clear_replaced(
        self, context: Context, place: ContainerPlace, record: ContainerRecord, planned: Values
    ) -> None:
        """Stop the container that is replaced: two of one name never run at once."""
        await context.host.note(
            f"Container {planned['name']} is stopped before the one in its place starts: "
            "create_before_destroy needs another name for the new one"
        )
        kept = place.directory.kept()
        old = planned if kept is None else conform_object(kept, self.schema)
        await place.clear(_stop_signal(old, record.labels), float(old["stop_timeout"]))

    def _turn(self, workspace: str, name: str) -> trio.Lock:
        return self._machine.turn(f"container {workspace} {name}")

    async def _place(self, container: str) -> ContainerPlace:
        owner = self._machine.owner()
        return ContainerPlace(await self._machine.containerd(owner), owner, container)

    async def _own_place(self, context: Context, state: Values) -> ContainerPlace | None:
        """Return where a state's container is; None where the state names none of the workspace."""
        workspace = await context.workspace_id()
        if not is_own_id(state["id"] or "", workspace, state["name"] or ""):
            return None
        return await self._place(state["id"])

    def _labels(self, values: Values, workspace: str, context: Context) -> dict[str, str]:
        own = own_labels(
            values,
            workspace=workspace,
            generation=context.generation or "",
            digest=fingerprint(values, _SETTABLE),
        )
        return all_labels(values, own)

    async def read(self, context: Context, state: Values) -> Values | None:
        """Gone when it is not there, or is a later create's.

        One that has ended stays in the state, so that whoever does not want it takes it away.
        """
        if (place := await self._own_place(context, state)) is None:
            return None
        found = await place.lifecycle.find(place.id)
        if found is None or not _is_of(found[0], context):
            return None
        can_start = is_running(found) or place.can_start(found[0])
        if not (can_start and is_kept_running(found[0])):
            # A stop of it was begun, and killed; or a boot took away what a start needs.
            state = {**state, "restart": "no"}
        labels = template_labels(found[0].labels)
        if labels != template_labels(all_labels(state, {})):
            state = {**state, "labels": labels}
        return await place.state(state)

    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """Change labels, restarting and limits of the container that runs."""
        place = await self._own_place(context, prior)
        found = await place.lifecycle.find(place.id) if place else None
        if place is None or found is None:
            raise DiagnosticError.of(
                "The container is gone", "Run it again: the next plan makes a new one."
            )
        workspace = await context.workspace_id()
        labels = self._labels(planned, workspace, context)
        labels |= {n: found[0].labels[n] for n in _KEPT_LABELS if n in found[0].labels}
        async with _deadline(planned, "update", _OTHER_S):
            if any(planned[name] != prior[name] for name in ("memory", "vcpus")):
                limits = build_resources(int(planned["memory"]), float(planned["vcpus"]))
                if is_running(found):  # before anything that says so: it may be refused
                    with explained(planned, "The container cannot be changed"):
                        await place.api.tasks.update(place.id, limits)
                await place.api.containers.set_spec(found[0], with_limits(found[0].spec, limits))
            place.directory.keep(planned)
            await place.api.containers.set_labels(found[0], labels)
            runtime, _ = await check_container(place.owner, planned, workspace, None)
            return await place.state(planned, runtime)

    async def delete(self, context: Context, state: Values) -> None:
        """Stop and remove the container, unless a later create has made it its own."""
        if (place := await self._own_place(context, state)) is None:
            return
        async with self._turn(await context.workspace_id(), state["name"]):
            found = await place.lifecycle.find(place.id)
            if found is not None and not _is_of(found[0], context):
                return
            await context.host.progress(f"Stopping container {state['name']}")
            async with _deadline(state, "delete", _OTHER_S):
                number = _stop_signal(state, found[0].labels if found else {})
                problem = await place.clear(number, float(state["stop_timeout"]))
        if problem is not None:
            await context.host.note(
                f"Container {state['name']} is gone, but traces of its network are left, which the "
                f"next build takes away: {problem.message}. {problem.hint}".rstrip()
            )

    async def import_state(self, context: Context, identity: str) -> Values:
        """Import by name: the container of this workspace, as it was made."""
        workspace = await context.workspace_id()
        owner = self._machine.owner()
        api = await self._machine.containerd(owner)
        places = await find_places(api, owner, workspace, identity) if is_name(identity) else []
        for place in places:
            found, values = await place.lifecycle.find(place.id), place.directory.kept()
            if found is not None and values is not None:
                break
        else:
            raise DiagnosticError.of(
                "There is no such container", f"This workspace has no container {identity[:80]!r}."
            )
        values = conform_object(values, self.schema)
        labels = {**found[0].labels, GENERATION_LABEL: context.generation or ""}
        await place.api.containers.set_labels(found[0], labels)
        runtime, _ = await check_container(place.owner, values, workspace, None)
        return await place.state(values, runtime)


def _must_run_again(prior: Values, planned: Values) -> bool:
    """Whether it has ended, must not have, and containerd does not start it again."""
    kept = "no" not in (prior["restart"], planned["restart"])
    return prior["status"] == "stopped" and planned["must_run"] is True and not kept


def _stop_signal(state: Values, labels: Mapping[str, str]) -> int:
    """The template's signal, else the image's, which may have written anything."""
    if state["stop_signal"] is not None:
        return signal_number(state["stop_signal"])
    with suppress(ValueError):
        return signal_number(labels.get(STOP_LABEL, ""))
    return signal.SIGTERM


def _is_of(record: ContainerRecord, context: Context) -> bool:
    """Whether the state is the one that the container was made for, or adopted by, last."""
    return context.generation in (None, record.labels.get(GENERATION_LABEL, ""))


def _is_replaced(record: ContainerRecord, context: Context) -> bool:
    """Whether a create takes the place of this one."""
    return bool(context.replaced) and record.labels.get(GENERATION_LABEL) == context.replaced


async def _image(api: ContainerdApi, planned: Values, workspace: str) -> TakenImage:
    found = await find_named(api, planned["image"], workspace)
    if found is None:
        raise DiagnosticError.of(
            "The image is not on this machine",
            f"There is no {planned['image']!r} in containerd that this workspace may use. Make it "
            "by a kata_image, and set `image` to its id.",
            path=("image",),
        )
    return found


@asynccontextmanager
async def _deadline(values: Values, operation: str, usual_s: float) -> AsyncIterator[None]:
    said = (values["timeouts"] or {}).get(operation)
    seconds = seconds_of(said) if said else usual_s
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise DiagnosticError.of(
            f"The {operation} took over {seconds:.0f} s",
            "What was begun was taken away again. Look at containerd's log, or raise "
            f"timeouts.{operation}.",
            path=("timeouts", operation) if said else (),
        )
