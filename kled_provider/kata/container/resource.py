"""Resource `kata_container`."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.containers import ContainerRecord
from kled_provider.containerd.tasks import ContainerTask, TaskStatus
from kled_provider.kata.container.blocks import seconds_of
from kled_provider.kata.container.directory import ContainerDirectory, container_directory
from kled_provider.kata.container.identity import (
    FINGERPRINT_LABEL,
    GENERATION_LABEL,
    all_labels,
    container_id,
    fingerprint,
    own_labels,
    template_labels,
)
from kled_provider.kata.container.lifecycle import CLEAN_UP_S, Lifecycle
from kled_provider.kata.container.making import Surroundings, choose_handler, make_job
from kled_provider.kata.container.schema import KATA_CONTAINER
from kled_provider.kata.container.sizing import guest_size
from kled_provider.kata.container.spec import build_resources
from kled_provider.kata.image.named import find_named
from kled_provider.kata.image.taking import TakenImage
from kled_provider.kata.machine import KataMachine
from kled_provider.plugin.diagnostics import DiagnosticError
from kled_provider.plugin.planning import ResourcePlan, plan_change
from kled_provider.plugin.resource import Context, Resource
from kled_provider.plugin.values import Values, settled

_SETTABLE: Final = {
    **{a.name: a for a in KATA_CONTAINER.attributes if a.is_settable},
    **{block.name: block for block in KATA_CONTAINER.blocks},
}
_CREATE_S: Final = 600
_OTHER_S: Final = 300


class ContainerResource(Resource):
    """A container whose name is its identity: a create adopts one that was made alike."""

    type_name = "kata_container"
    schema = KATA_CONTAINER
    identity = ("name",)

    def __init__(self, machine: KataMachine) -> None:
        self._machine = machine

    def plan(self, prior: Values | None, config: Values) -> ResourcePlan:
        """By the schema; a change of memory or CPUs makes a new VM, whose size is fixed at boot."""
        return plan_change(self.schema, prior, config)

    async def create(self, context: Context, planned: Values) -> Values:
        """Start the container, or adopt one that was started alike and runs."""
        workspace = await context.host.workspace()
        container = container_id(str(workspace["id"]), planned["name"])
        api, directory = await self._machine.containerd(), self._directory(container)
        digest = fingerprint(planned, _SETTABLE)
        own = own_labels(
            planned,
            workspace=str(workspace["id"]),
            generation=context.generation or "",
            digest=digest,
        )
        labels = all_labels(planned, own)
        async with _deadline(planned, "create", _CREATE_S):
            lifecycle = Lifecycle(api)
            found = await lifecycle.find(container)
            if (
                found is not None
                and _is_running(found)
                and _label(found, FINGERPRINT_LABEL) == digest
            ):
                await api.containers.set_labels(found[0], labels)
                return await self._state(api, planned, container)
            await lifecycle.remove(container, signal.SIGKILL, 0)
            directory.remove()
            image = await _image(api, planned)
            await context.host.progress(f"Starting container {planned['name']}")
            around = await self._surroundings(api, planned, image, directory, labels, workspace)
            try:
                job = await trio.to_thread.run_sync(make_job, container, planned, around)
                await lifecycle.start(job)
                return await self._state(api, planned, container)
            except BaseException:
                with trio.move_on_after(CLEAN_UP_S, shield=True):
                    await lifecycle.remove(container, signal.SIGKILL, 0)
                directory.remove()
                raise

    async def _surroundings(
        self, api: ContainerdApi, planned: Values, image: TakenImage,
        directory: ContainerDirectory, labels: dict[str, str], workspace: object,
    ) -> Surroundings:  # fmt: skip
        owner = self._machine.owner()
        chain = image.config.chain_ids()
        look = f"kled-look-{directory.path.name}"
        await api.snapshots.remove(look)
        layers = await api.snapshots.view(look, chain[-1] if chain else "")
        await api.snapshots.remove(look)
        return Surroundings(
            owner=owner,
            handler=choose_handler(owner, planned),
            image=image,
            layers=layers,
            directory=directory,
            access_url=str(workspace["access_url"]),  # type: ignore[index]
            labels=labels,
        )

    async def read(self, context: Context, state: Values) -> Values | None:
        """Gone when it is not there, or has ended and must run; or is a later create's."""
        api = await self._machine.containerd()
        container = state["id"] or ""
        found = await Lifecycle(api).find(container) if container else None
        if found is None or not _is_of(found[0], context):
            return None
        record, task = found
        is_kept = record.labels.get("containerd.io/restart.status") == "running"
        if state["must_run"] and not is_kept and not _is_running(found):
            return None
        labels = template_labels(record.labels)
        if labels != template_labels(all_labels(state, {})):
            state = {**state, "labels": labels}
        return {**state, **_found(task)}

    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """Change labels, restarting and limits of the container that runs."""
        api, container = await self._machine.containerd(), prior["id"]
        found = await Lifecycle(api).find(container)
        if found is None:
            raise DiagnosticError.of(
                "The container is gone", "Run it again: the next plan makes a new one."
            )
        workspace = await context.host.workspace()
        own = own_labels(
            planned,
            workspace=str(workspace["id"]),
            generation=context.generation or "",
            digest=fingerprint(planned, _SETTABLE),
        )
        async with _deadline(planned, "update", _OTHER_S):
            sizes = ("memory", "vcpus")
            if any(planned[name] != prior[name] for name in sizes):
                await api.tasks.update(
                    container, build_resources(int(planned["memory"]), float(planned["vcpus"]))
                )
            await api.containers.set_labels(found[0], all_labels(planned, own))
            return await self._state(api, planned, container)

    async def delete(self, context: Context, state: Values) -> None:
        """Stop and remove the container, unless a later create has made it its own."""
        api, container = await self._machine.containerd(), state["id"]
        if container is None:
            return
        lifecycle = Lifecycle(api)
        found = await lifecycle.find(container)
        if found is not None and not _is_of(found[0], context):
            return
        await context.host.progress(f"Stopping container {state['name']}")
        async with _deadline(state, "delete", _OTHER_S):
            number = _signal(state["stop_signal"])
            await lifecycle.remove(container, number, float(state["stop_timeout"]))
            self._directory(container).remove()

    def _directory(self, container: str) -> ContainerDirectory:
        return container_directory(self._machine.owner().runtime_directory, container)

    async def _state(self, api: ContainerdApi, values: Values, container: str) -> Values:
        handler = choose_handler(self._machine.owner(), values)
        memory, vcpus = guest_size(handler, int(values["memory"]), float(values["vcpus"]))
        return settled(
            {
                **values,
                "id": container,
                "sandbox_id": container if handler.is_kata else "",
                "ip_addresses": [],
                "guest_memory": memory,
                "guest_vcpus": vcpus,
                "log_path": "",
                **_found(await api.tasks.find(container)),
            }
        )


def _found(task: ContainerTask | None) -> Values:
    if task is None:
        return {"pid": None, "status": "stopped", "exit_code": None, "oom_killed": False}
    is_stopped = task.status is TaskStatus.STOPPED
    return {
        "pid": None if is_stopped else task.pid,
        "status": task.status.name.lower(),
        "exit_code": task.exit_status if is_stopped else None,
        "oom_killed": False,
    }


def _is_running(found: tuple[ContainerRecord, ContainerTask | None]) -> bool:
    task = found[1]
    return task is not None and task.status in (
        TaskStatus.RUNNING,
        TaskStatus.PAUSED,
        TaskStatus.PAUSING,
    )


def _label(found: tuple[ContainerRecord, ContainerTask | None], name: str) -> str:
    return found[0].labels.get(name, "")


def _is_of(record: ContainerRecord, context: Context) -> bool:
    """Whether the state is the one that the container was made for, or adopted by, last."""
    return context.generation in (None, record.labels.get(GENERATION_LABEL, ""))


def _signal(name: str | None) -> int:
    if name is None:
        return signal.SIGTERM
    if name.isdigit():
        return int(name)
    found: signal.Signals = getattr(signal, name if name.startswith("SIG") else f"SIG{name}")
    return found


async def _image(api: ContainerdApi, planned: Values) -> TakenImage:
    found = await find_named(api, planned["image"])
    if found is None:
        raise DiagnosticError.of(
            "The image is not on this machine",
            f"There is no {planned['image']!r} in containerd. Make it by a kata_image, and set "
            "`image` to its id.",
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
