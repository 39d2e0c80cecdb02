"""The parameters of a template as questions: their properties and errors under given answers.

Terraform evaluates, by a plan of the parameters alone (terraform/evaluator.py). One question at a
time for each user, who waits for it: nobody's page keeps another's from being answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from kled_coord.builds.runner import Inquiry, ParameterAsker, TemplateForm
from kled_coord.builds.running.variables import open_fixed, values_of
from kled_coord.builds.turns import Turns
from kled_coord.policy.decide import Caller
from kled_coord.store.engine import Store
from kled_coord.store.sealing import Sealer
from kled_coord.store.template_records import TemplateParameter, TemplatePreset, TemplateVersion
from kled_coord.store.users import user_by_id
from kled_coord.store.versions import version_archive, version_fixed_sealed
from kled_coord.workspaces.parameters import (
    NONE,
    Parameters,
    check_sizes,
    check_values,
    missing_variables,
)
from kled_wire.errors import NotFoundError, UnavailableError

# For one user, and it counts the one that is being answered.
WAITING_MAX: Final = 4
# Terraform processes at once; each takes a core while it runs.
_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FormAnswers:
    """The answers that are known when a template is asked for its parameters.

    `kept` is what the workspace has, or another one to copy from; `previous` are values that were
    applied, `given` what is new, over that of the `preset`.
    """

    given: Mapping[str, str]
    kept: Parameters = NONE
    previous: Mapping[str, str | None]
    workspace_name: str = ""
    preset: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The parameters there are with these answers; `given` with the preset's.

    `parameters` is None where Terraform was not asked: `missing` variables need a value first.
    """

    given: Mapping[str, str]
    missing: tuple[str, ...]
    parameters: tuple[TemplateParameter, ...] | None
    presets: tuple[TemplatePreset, ...]


@dataclass(slots=True, kw_only=True)
class Questions:
    """Asks templates. `deadline_s` is for a first question, which prepares the template."""

    store: Store
    sealer: Sealer
    ask: ParameterAsker
    deadline_s: float
    access_url: str
    _turns: Turns = field(
        init=False, default_factory=lambda: Turns(waiting_max=WAITING_MAX, at_once=_AT_ONCE)
    )

    async def evaluate(
        self, caller: Caller, version: TemplateVersion, answers: FormAnswers
    ) -> Evaluation:
        """What the template asks for with these answers.

        A version that asks for nothing at all costs nothing. Raises InputError("template_invalid"),
        NotFoundError("preset_not_found"), LimitError, UnavailableError("parameters_timeout").
        """
        check_sizes(answers.given)
        check_values(version.variables, answers.given)
        if version.parameters is not None and not version.parameters:
            if answers.preset is not None:
                raise _no_preset(version, answers.preset)
            return Evaluation(
                given=answers.given,
                missing=tuple(missing_variables(version, _values(answers, answers.given))),
                parameters=(),
                presets=version.presets,
            )
        async with self._turns.of(caller.user_id, "parameters_busy", "questions"):
            return await self._evaluate(caller, version, answers)

    async def _evaluate(
        self, caller: Caller, version: TemplateVersion, answers: FormAnswers
    ) -> Evaluation:
        given = answers.given
        presets = version.presets
        if answers.preset is not None:
            if version.parameters is None:
                presets = (await self._answer(caller, version, answers, given)).presets
            given = {**_preset(version, presets, answers.preset).parameters, **given}
        if missing := missing_variables(version, _values(answers, given)):
            return Evaluation(given=given, missing=tuple(missing), parameters=None, presets=presets)
        answer = await self._answer(caller, version, answers, given)
        if answers.given:
            # Beside what somebody chose, a parameter that the preset sets may not exist.
            there = {each.name for each in answer.parameters}
            there |= {each.name for each in version.variables}
            given = {n: v for n, v in given.items() if n in there or n in answers.given}
        return Evaluation(
            given=given, missing=(), parameters=answer.parameters, presets=answer.presets
        )

    async def _answer(
        self,
        caller: Caller,
        version: TemplateVersion,
        answers: FormAnswers,
        given: Mapping[str, str],
    ) -> TemplateForm:
        sealed = await self.store.read(version_fixed_sealed, version.id)
        kept = answers.kept
        inquiry = Inquiry(
            template=await self.store.read(version_archive, version.id),
            names=[variable.name for variable in version.variables],
            variables=values_of(
                version,
                Parameters(plain={**kept.plain, **given}, secret=kept.secret),
                open_fixed(self.sealer, version, sealed),
            ),
            workspace=await imagined_workspace(
                self.store,
                caller,
                version,
                {**kept.plain, **given},
                answers.previous,
                name=answers.workspace_name,
                access_url=self.access_url,
            ),
        )
        async with self._turns.running():
            with trio.move_on_after(self.deadline_s):
                return await self.ask(inquiry)
        raise UnavailableError(
            "parameters_timeout",
            f"Terraform did not get the template ready within {self.deadline_s:.0f} s",
            hint="can the coordinator reach the registry of its providers?",
        )


async def imagined_workspace(
    store: Store,
    caller: Caller,
    version: TemplateVersion,
    parameters: Mapping[str, str],
    previous: Mapping[str, str | None],
    *,
    access_url: str,
    name: str = "",
) -> dict[str, Any]:
    """What `BuildHost.workspace` gives, for a start that nobody has made yet."""
    owner = await store.read(user_by_id, caller.user_id)
    return {
        "id": "ws_none",
        "name": name or "workspace",
        "transition": "start",
        "start_count": 1,
        "owner": caller.user_name,
        "owner_id": caller.user_id,
        "owner_email": (owner.email if owner else None) or "",
        "access_url": access_url,
        "template_id": version.template_id or "tpl_none",
        "template_name": version.template,
        "template_version": str(version.number),
        "build_id": "bld_none",
        "parameters": dict(parameters),
        "previous_parameters": {k: v for k, v in previous.items() if v is not None},
    }


def _values(answers: FormAnswers, given: Mapping[str, str]) -> dict[str, str]:
    return {**answers.kept.plain, **answers.kept.secret, **given}


def _preset(
    version: TemplateVersion, presets: tuple[TemplatePreset, ...], name: str
) -> TemplatePreset:
    for preset in presets:
        if preset.name == name:
            return preset
    raise _no_preset(version, name, presets)


def _no_preset(
    version: TemplateVersion, name: str, presets: tuple[TemplatePreset, ...] = ()
) -> NotFoundError:
    names = ", ".join(preset.name for preset in presets[:10])
    return NotFoundError(
        "preset_not_found",
        f"the template {version.template} (version {version.number}) has no preset {name[:80]!r}",
        hint=f"there is {names}" if names else "it has none",
    )
