"""Evaluates a template's parameters: plans only these, with the answers so far.

`init` runs once for a template, in a directory that is kept; each evaluation plans there,
and writes nothing into it. So an evaluation costs one plan, which starts none of the template's
programs but those that a parameter itself needs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from kled_coord.terraform.checking import SchemaOnlyHost, refusing
from kled_coord.terraform.modulecache import digest_of
from kled_coord.terraform.process import command
from kled_coord.terraform.process.binary import Binary
from kled_coord.terraform.process.varfile import Value
from kled_coord.terraform.providers import TerraformProvider
from kled_coord.terraform.session import Control, TerraformPlace, ignore_event, open_session, unpack
from kled_coord.terraform.source.targets import list_targets
from kled_wire.errors import UnavailableError
from kled_wire.trees import discard_tree

# How long a plan may take once its template is ready.
ANSWER_S: Final = 10.0
# How many templates stay ready; those that were evaluated last do.
READY_MAX: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationInput:
    """A template, the values of its variables, and the host that answers its parameters."""

    template: bytes = field(repr=False)
    host: object
    variables: Mapping[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class _Ready:
    """A template that `init` has run for; `users` plan in it now."""

    directory: Path
    making: trio.Lock = field(default_factory=trio.Lock)
    work: Path | None = None
    targets: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    users: int = 0


class Evaluator:
    """Keeps templates ready below `directory`: this process's alone, and empty at first."""

    def __init__(
        self, directory: Path, *, ready_max: int = READY_MAX, answer_s: float = ANSWER_S
    ) -> None:
        self._directory = directory
        self._ready_max = ready_max
        self._answer_s = answer_s
        self._ready: dict[str, _Ready] = {}

    async def evaluate(
        self,
        evaluation: EvaluationInput,
        *,
        binary: Binary,
        control: Control,
        providers: Sequence[TerraformProvider] | None = None,
    ) -> None:
        """Let the template tell its parameters and presets to `evaluation.host`.

        The first evaluation of a template takes as long as its `init`. Raises
        TemplateInvalidError, UnavailableError("parameters_timeout"), and as TerraformSession.stage.
        """
        ready = self._take(evaluation.template)
        try:
            async with ready.making:
                if ready.work is None:
                    await _prepare(ready, evaluation, binary, control, providers)
            if ready.targets:
                with trio.move_on_after(self._answer_s):
                    await _plan(ready, evaluation, binary, control, providers)
                    return
                raise UnavailableError(
                    "parameters_timeout",
                    f"Terraform did not evaluate the parameters within {self._answer_s:.0f} s",
                    hint="what does a parameter of the template wait for?",
                )
        finally:
            ready.users -= 1
            with trio.CancelScope(shield=True):
                await self._forget_oldest()

    def _take(self, template: bytes) -> _Ready:
        name = digest_of(template)
        ready = self._ready.pop(name, None) or _Ready(self._directory / name)
        self._ready[name] = ready  # the last one is the newest
        ready.users += 1
        return ready

    async def _forget_oldest(self) -> None:
        idle = [name for name, ready in self._ready.items() if not ready.users]
        for name in idle[: max(0, len(self._ready) - self._ready_max)]:
            ready = self._ready.pop(name)
            await trio.to_thread.run_sync(discard_tree, ready.directory)


async def _prepare(
    ready: _Ready,
    evaluation: EvaluationInput,
    binary: Binary,
    control: Control,
    providers: Sequence[TerraformProvider] | None,
) -> None:
    await trio.to_thread.run_sync(discard_tree, ready.directory)
    ready.directory.mkdir(mode=0o700, parents=True)
    work = await unpack(evaluation.template, ready.directory, command.no_backend_file())
    place = TerraformPlace(
        binary=binary,
        host=SchemaOnlyHost(),
        directory=ready.directory,
        work=work,
        control=control,
        providers=providers,
    )
    async with open_session(place, ignore_event) as session:
        with refusing(work):
            await session.init(evaluation.template)
        ready.settings = session.settings
    ready.targets = await trio.to_thread.run_sync(list_targets, work)
    ready.work = work


async def _plan(
    ready: _Ready,
    evaluation: EvaluationInput,
    binary: Binary,
    control: Control,
    providers: Sequence[TerraformProvider] | None,
) -> None:
    assert ready.work is not None
    directory = Path(tempfile.mkdtemp(prefix="look.", dir=ready.directory.parent))
    place = TerraformPlace(
        binary=binary,
        host=evaluation.host,
        directory=directory,
        work=ready.work,
        control=control,
        providers=providers,
        variables=evaluation.variables,
        settings=ready.settings,
    )
    try:
        async with open_session(place, ignore_event) as session:
            with refusing(ready.work):
                await session.stage("plan", command.look_arguments(ready.targets, directory))
    finally:
        discard_tree(directory)
