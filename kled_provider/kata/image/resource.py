"""Resource and data source `kata_image`.

An image is there once for all workspaces of a machine, under its name; who holds it stands in its
labels, and the last who lets go removes it.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from kled_provider.host import HostError
from kled_provider.kata.image.holders import (
    collect_images,
    hold_image,
    holder_label,
    holder_value,
    release_image,
)
from kled_provider.kata.image.manifest import parse_platform, this_architecture
from kled_provider.kata.image.named import find_named, image_id
from kled_provider.kata.image.reference import id_problem, parse_reference, reference_problem
from kled_provider.kata.image.sources import explained, import_image, pull_image
from kled_provider.kata.image.storing import ImageLocks, ImageTaker, TakenImage
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError
from kled_provider.plugin.diagnostics import Path as AttributePath
from kled_provider.plugin.resource import Context, DataSource, Resource
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Schema,
    computed,
    defaulted,
    list_of,
    optional,
    required,
    set_of,
)
from kled_provider.plugin.values import Values


def _check_platform(value: Any) -> str | None:
    try:
        parse_platform(value)
    except ValueError as error:
        return f"{error}; got {value!r}."
    return None


# Attributes whose change means another image.
_fixed: Final = partial(optional, forces_replacement=True)
_FOUND: Final = (
    computed("id", "Name and digest, for a kata_container."),
    computed("digest", "Digest of its manifest."),
    computed("size", "Bytes of its packed layers.", NUMBER),
    computed("architecture", "What it is for, such as amd64."),
    computed("user", "The user that it says."),
    computed("entrypoint", "Its entrypoint.", list_of("string")),
    computed("command", "Its command.", list_of("string")),
)
_CLEAN_UP_S: Final = 30.0
_NAME = "Name, perhaps with a tag and a digest, such as docker.io/library/debian:12."

KATA_IMAGE = Schema(
    description="An image of this machine's containerd, pulled or imported.",
    attributes=(
        required("name", _NAME, forces_replacement=True, check=reference_problem),
        defaulted(
            "platform",
            f"linux/{this_architecture()}",
            "OS/ARCHITECTURE; this machine's by default.",
            forces_replacement=True,
            check=_check_platform,
        ),
        _fixed(
            "archive",
            "A tar or directory beneath a place of the owner's for imports, instead of a registry: "
            "an OCI layout, what `docker save` writes, or a root file system. Of a directory "
            "devices, sockets and pipes are left out. What is imported is looked at when the image "
            "is made: another one needs another of `pull_triggers`.",
        ),
        optional("credentials", "An account of the owner's file."),
        optional("username", "User at the registry."),
        optional(
            "password_wo",
            "Password or token at the registry; kept nowhere.",
            sensitive=True,
            write_only=True,
        ),
        _fixed(
            "pull_triggers",
            "A change of any of these pulls the image anew.",
            set_of("string"),
        ),
        defaulted(
            "keep_on_destroy",
            False,
            "Leave it on the machine when it is destroyed, until the owner's images.keep_bytes are "
            "exceeded.",
            of=BOOL,
        ),
        *_FOUND,
    ),
)


class ImageResource(Resource):
    """An image under a name."""

    type_name = "kata_image"
    schema = KATA_IMAGE
    identity = ("name",)

    def __init__(self, machine: KataMachine) -> None:
        self._machine = machine

    def validate(self, config: Values) -> list[Diagnostic]:
        """Check that one way to get it is said."""
        found = super().validate(config)
        for one, other in (
            ("archive", "credentials"),
            ("archive", "username"),
            ("credentials", "username"),
        ):
            if config[one] is not None and config[other] is not None:
                detail = f"Set `{one}` or `{other}`, not both."
                found.append(Diagnostic(summary="Both are set", detail=detail, path=(other,)))
        if (config["username"] is None) != (config["password_wo"] is None):
            detail = "`username` and `password_wo` go together."
            path = "username" if config["password_wo"] is None else "password_wo"
            found.append(Diagnostic(summary="One is missing", detail=detail, path=(path,)))
        return found

    async def create(self, context: Context, planned: Values) -> Values:
        """Pull or import the image."""
        owner, api = self._machine.owner(), await self._machine.containerd()
        reference = parse_reference(planned["name"])
        platform = parse_platform(planned["platform"])
        workspace = await context.workspace_id()
        locks = _locks(owner)
        taker = ImageTaker(
            api=api,
            locks=locks,
            unpacked_bytes=owner.images.unpacked_bytes,
            progress=lambda text: context.host.progress(f"{planned['name']}: {text}"),
            holder={holder_label(workspace): holder_value(context.generation or "", planned)},
        )
        where: AttributePath = ("archive",) if planned["archive"] is not None else ("name",)
        try:
            with explained(planned["name"], where, planned):
                if (path := planned["archive"]) is not None:
                    taken = await import_image(taker, owner, path, reference, platform)
                else:
                    config = context.config or planned
                    taken = await pull_image(taker, owner, reference, platform, config)
                await collect_images(api, locks, owner.images.keep_bytes)
        except BaseException:
            with trio.move_on_after(_CLEAN_UP_S, shield=True), suppress(HostError, OSError):
                async with locks.image(reference.name):  # no state knows that it is held
                    generation = context.generation
                    await release_image(api, reference.name, workspace, generation, keeps=True)
            raise
        return {**planned, **_state(taken)}

    async def read(self, context: Context, state: Values) -> Values | None:
        """Gone when the name stands for another image, or none."""
        api = await self._machine.containerd()
        workspace = await context.workspace_id()
        found = await find_named(api, state["id"], workspace) if state["id"] else None
        return None if found is None else {**state, **_state(found)}

    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """What may change says how it is got and kept, and nothing of the image."""
        return {**planned, **{a.name: prior[a.name] for a in _FOUND}}

    async def delete(self, context: Context, state: Values) -> None:
        """Let go of the image; the last who holds it removes it."""
        if state["id"] is None:
            return
        api = await self._machine.containerd()
        name = parse_reference(state["name"]).name
        workspace = await context.workspace_id()
        keeps = bool(state["keep_on_destroy"])
        async with _locks(self._machine.owner()).image(name):
            await release_image(api, name, workspace, context.generation, keeps=keeps)

    async def import_state(self, context: Context, identity: str) -> Values:
        """Import by name: the image has to be there."""
        api = await self._machine.containerd()
        workspace = await context.workspace_id()
        if (problem := reference_problem(identity)) is not None:
            raise DiagnosticError.of("There is no such image", problem)
        async with _locks(self._machine.owner()).image(parse_reference(identity).name):
            found = await find_named(api, identity, workspace)
            if found is None:
                raise DiagnosticError.of("There is no such image", f"{identity!r}")
            said = await hold_image(api, found.name, workspace, context.generation or "")
        values: Values = {a.name: a.default for a in self.schema.attributes}
        return {**values, **said, "name": identity, **_state(found)}


class ImageData(DataSource):
    """An image that is there."""

    type_name = "kata_image"
    schema = Schema(
        description="An image that this machine's containerd has. One that another workspace has "
        "pulled with an account is not for this one, which needs a kata_image of its own.",
        attributes=(
            required("name", _NAME, check=id_problem),
            *_FOUND,
        ),
    )

    def __init__(self, machine: KataMachine) -> None:
        self._machine = machine

    async def read(self, context: Context, config: Values) -> Values:
        """Look it up."""
        workspace = await context.workspace_id()
        found = await find_named(await self._machine.containerd(), config["name"], workspace)
        if found is None:
            raise DiagnosticError.of(
                "The image is not on this machine",
                f"There is no {config['name']!r} in containerd that this workspace may use. A "
                "kata_image pulls it.",
                path=("name",),
            )
        return {**config, **_state(found)}


def _locks(owner: OwnerFile) -> ImageLocks:
    return ImageLocks(Path(owner.runtime_directory) / "images")


def _state(taken: TakenImage) -> Values:
    return {
        "id": image_id(taken.name, taken.digest),
        "digest": taken.digest,
        "size": taken.size,
        "architecture": taken.config.platform.architecture,
        "user": taken.config.user,
        "entrypoint": list(taken.config.entrypoint),
        "command": list(taken.config.command),
    }
