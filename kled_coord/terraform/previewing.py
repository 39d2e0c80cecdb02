"""Plans what a build would do, from a copy of the state: nothing is locked, written or built."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from kled_coord.terraform.output.changes import PlannedChanges, parse_plan
from kled_coord.terraform.output.errors import TerraformFailedError
from kled_coord.terraform.process import command
from kled_coord.terraform.process.binary import Binary
from kled_coord.terraform.process.varfile import Value
from kled_coord.terraform.providers import TerraformProvider
from kled_coord.terraform.session import Control, TerraformPlace, ignore_event, open_session, unpack
from kled_coord.terraform.source.variables import sensitive_defaults

# Where Terraform's local backend looks for a state.
_STATE_FILE: Final = "terraform.tfstate"
# Beside the changes it has the state and the configuration.
_DOCUMENT_MAX_BYTES: Final = 128 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewInput:
    """What to plan: a start or stop, with `destroy` a delete; with `refresh_only` what differs."""

    template: bytes = field(repr=False)
    state: bytes | None = field(repr=False)
    variables: Mapping[str, Value] = field(default_factory=dict)
    destroy: bool = False
    refresh_only: bool = False


async def preview_build(
    preview: PreviewInput,
    *,
    binary: Binary,
    host: object,
    directory: Path,
    control: Control | None = None,
    providers: Sequence[TerraformProvider] | None = None,
) -> PlannedChanges:
    """Plan, and say what would change. `directory` is empty, private, and goes with the plan.

    The copy of the state has every secret of the workspace, and so has the plan. Raises as
    run_build.
    """
    work = await unpack(preview.template, directory, command.no_backend_file())
    if preview.state is not None:
        await trio.to_thread.run_sync(_write_private, work / _STATE_FILE, preview.state)
    place = TerraformPlace(
        binary=binary,
        host=host,
        directory=directory,
        work=work,
        control=control or Control(),
        providers=providers,
        variables=preview.variables,
    )
    arguments = command.preview_arguments(
        destroy=preview.destroy, refresh_only=preview.refresh_only
    )
    async with open_session(place, ignore_event) as session:
        await session.init(preview.template)
        await session.stage("plan", arguments)
        document = await session.show_plan(_DOCUMENT_MAX_BYTES)
    secrets = [value.text for value in preview.variables.values() if value.is_secret]
    secrets += await trio.to_thread.run_sync(sensitive_defaults, preview.template)
    planned = await trio.to_thread.run_sync(parse_plan, document, secrets)
    if planned is None:
        raise TerraformFailedError("show", [], "the plan is too long, or cannot be read")
    return planned


def _write_private(path: Path, content: bytes) -> None:
    # The template may have a file of that name; ours is the state.
    path.unlink(missing_ok=True)
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(content)
