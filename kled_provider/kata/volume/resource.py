"""Resource `kata_volume`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trio

from kled_provider.kata.owner.file import OwnerFile, Use
from kled_provider.kata.paths.beneath import PathKind, opened_beneath
from kled_provider.kata.volume.populate import Ownership, populate
from kled_provider.kata.volume.refusals import told, told_of_disk
from kled_provider.kata.volume.schema import SCHEMA
from kled_provider.kata.volume.stored import (
    DIRECTORY,
    TMPFS,
    StoredVolume,
    VolumeStore,
    id_of,
    kept_for_owner,
    new_id,
    remove_directory,
    remove_tree,
    require_no_writer,
)
from kled_provider.locks import hold_lock
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError
from kled_provider.plugin.diagnostics import Path as AttributePath
from kled_provider.plugin.resource import Context, Resource
from kled_provider.plugin.values import Values, is_known

_IN_PLACE = ".kled-volumes"
_FILL_HINT = "Correct the path or what is there, or leave the block `populate` out."


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSettings:
    """The directories that volumes use: `directory` is the provider's own, the others the owner's.

    Both mappings have paths by the names that a template chooses among.
    """

    directory: Path
    places: Mapping[str, str]
    sources: Mapping[str, str]


def volume_settings(owner: OwnerFile) -> VolumeSettings:
    """Return what the owner's file says of volumes."""
    return VolumeSettings(
        directory=Path(owner.state_directory),
        places={name: place.path for name, place in owner.places_for(Use.VOLUME).items()},
        sources={name: place.path for name, place in owner.places_for(Use.POPULATE).items()},
    )


class VolumeResource(Resource):
    """A volume; it exists as long as its directory does."""

    type_name = "kata_volume"
    identity = ("name",)
    schema = SCHEMA

    def __init__(self, settings: Callable[[], VolumeSettings]) -> None:
        self._settings = settings

    def validate(self, config: Values) -> list[Diagnostic]:
        """Check what no single attribute tells."""
        found = super().validate(config)
        kind = config["kind"] or DIRECTORY
        if not is_known(kind):
            return found
        if kind == DIRECTORY and config["size"] is not None:
            found.append(_refused("size", "A directory has no size of its own: leave it out."))
        if kind == TMPFS:
            for name in ("place", "populate"):
                if config[name] is not None:
                    found.append(_refused(name, "A tmpfs is empty at each start: leave it out."))
            if config["retention"] == "keep":
                found.append(_refused("retention", "There is nothing to keep of a tmpfs."))
        return found

    async def check_plan(
        self,
        context: Context,
        prior: Values | None,
        planned: Values,
    ) -> list[Diagnostic]:
        """Look whether the names are among the owner's, and what it is filled with is there."""
        settings = self._settings()
        try:
            _root(settings, planned["place"])
            if prior is None and planned["populate"] is not None and is_known(planned["populate"]):
                with _source(settings, planned["populate"]):
                    pass
        except DiagnosticError as error:
            return list(error.diagnostics)
        return []

    async def create(self, context: Context, planned: Values) -> Values:
        """Make the directory, or take the one that is there: a killed run's, or one kept."""
        settings = self._settings()
        store = VolumeStore(settings.directory)
        workspace, owner = await _whose(context)
        with _written(settings, planned):
            async with hold_lock(store.lock):  # whose delete may run, where one was renamed
                volume = _existing(store, planned, workspace, owner)
                if volume is not None:
                    return _keep(store, volume, context, planned, workspace)
            # This may take minutes: others wait for the lock of all volumes, but nobody waits for
            # this volume's.
            volume = _new(settings, planned, workspace, owner)
            async with hold_lock(volume.lock):
                try:
                    await self._make(context, settings, planned, volume)
                    async with hold_lock(store.lock):
                        return _keep(store, volume, context, planned, workspace)
                except BaseException:
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(_unmake, store, volume)
                    raise

    async def read(self, context: Context, state: Values) -> Values | None:
        """Return what the record and the directory say; None where either is gone."""
        store = VolumeStore(self._settings().directory)
        workspace, _ = await _whose(context)
        volume = store.of_workspace(state["id"], workspace)
        return None if volume is None or not volume.is_there() else _as_found(volume)

    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """Rename it, and change what may be changed in place; nothing is moved."""
        settings = self._settings()
        store = VolumeStore(settings.directory)
        with _written(settings, planned):
            async with hold_lock(store.lock):
                workspace, owner = await _whose(context)
                volume = store.of_workspace(prior["id"], workspace)
                if volume is None or not volume.is_there():
                    raise DiagnosticError.of(
                        "The volume is gone",
                        f"There is no directory of {prior['name']} any more. Plan again: it will "
                        "be made anew.",
                        path=("name",),
                    )
                other = store.find(planned["name"], workspace, owner)
                if other is not None and other.id != volume.id:
                    raise DiagnosticError.of(
                        f"There is a volume {planned['name']} already",
                        "Choose another name, or import that one.",
                        path=("name",),
                    )
                volume = _set(volume, planned)
                _apply_permissions(volume)
                store.save(volume)
        return _state(planned, volume)

    async def delete(self, context: Context, state: Values) -> None:
        """Remove the directory, or keep it for its owner, as `retention` says."""
        store = VolumeStore(self._settings().directory)
        async with hold_lock(store.lock):
            workspace, _ = await _whose(context)
            volume = store.of_workspace(state["id"], workspace)
            if volume is None:
                return
            if context.generation not in (None, volume.generation):
                return  # a later create has made it its own
            if volume.retention == "keep":
                store.save(kept_for_owner(volume))
                return
            with told("The volume is in use", ("name",)):
                require_no_writer(volume)
            await trio.to_thread.run_sync(remove_directory, volume)
            store.forget(volume.id)

    async def import_state(self, context: Context, identity: str) -> Values:
        """Take a volume by name or id: this workspace's, or one that is kept for its owner."""
        store = VolumeStore(self._settings().directory)
        async with hold_lock(store.lock):
            workspace, owner = await _whose(context)
            volume = store.find(identity, workspace, owner)
            by_id = store.load(identity)
            if by_id is not None and by_id.owner == owner and by_id.workspace in ("", workspace):
                volume = by_id
            if volume is None:
                raise DiagnosticError.of(
                    f"There is no volume {identity!r} to import",
                    "Give the name or id of a volume of this workspace, or of one that its owner "
                    "has kept.",
                )
            volume = replace(volume, workspace=workspace, generation=context.generation or "")
            store.save(volume)
        return _as_found(volume)

    async def _make(
        self,
        context: Context,
        settings: VolumeSettings,
        planned: Values,
        volume: StoredVolume,
    ) -> None:
        """Make a directory, which has its name when it is whole."""
        if volume.kind == TMPFS:
            return
        draft = _draft(volume)
        draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.mkdir(mode=0o700)
        if planned["populate"] is not None:
            await context.host.progress(f"Filling volume {planned['name']}")
            await trio.to_thread.run_sync(_fill, settings, volume, planned["populate"], draft)
        draft.rename(volume.data)


def collect_volumes(settings: VolumeSettings) -> list[str]:
    """Remove what killed runs left of volumes that there are not; blocks. Raises OSError."""
    store, collected = VolumeStore(settings.directory), []
    for place in (None, *settings.places):
        for path in store.orphans(_root(settings, place)):
            with suppress(OSError):
                remove_tree(path)
            store.forget(id_of(path))
            collected.append(id_of(path))
    return collected


def _draft(volume: StoredVolume) -> Path:
    return volume.data.with_name(f".new-{volume.id}")


def _unmake(store: VolumeStore, volume: StoredVolume) -> None:
    """Take away what there is of a volume that was not made; blocks."""
    for path in (_draft(volume), volume.data):
        with suppress(OSError):
            remove_tree(path)
    store.forget(volume.id)


def _existing(
    store: VolumeStore, planned: Values, workspace: str, owner: str
) -> StoredVolume | None:
    """The volume of that name that is as it is to be."""
    volume = store.find(planned["name"], workspace, owner)
    wanted = (planned["kind"], planned["place"])
    return volume if volume is not None and (volume.kind, volume.place) == wanted else None


def _new(settings: VolumeSettings, planned: Values, workspace: str, owner: str) -> StoredVolume:
    id_ = new_id()
    data, lock = VolumeStore(settings.directory).place(id_, _root(settings, planned["place"]))
    volume = StoredVolume(
        id=id_, name=planned["name"], workspace=workspace, owner=owner, generation="",
        data=data, lock=lock, kind=planned["kind"], place=planned["place"],
    )  # fmt: skip
    return _set(volume, planned)


def _keep(
    store: VolumeStore, volume: StoredVolume, context: Context, planned: Values, workspace: str
) -> Values:
    """Write the record; the caller has the store's lock."""
    volume = replace(
        _set(volume, planned), workspace=workspace, generation=context.generation or ""
    )
    _apply_permissions(volume)
    store.save(volume)
    return _state(planned, volume)


def _fill(settings: VolumeSettings, volume: StoredVolume, source: Values, draft: Path) -> None:
    """In a thread."""
    ownership = Ownership(uid=volume.uid, gid=volume.gid)
    target = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _source(settings, source) as opened:
            populate(target, opened, ownership, still_wanted=trio.from_thread.check_cancelled)
    finally:
        os.close(target)


@contextmanager
def _source(settings: VolumeSettings, source: Values) -> Iterator[Any]:
    place, path = source["place"], source["path"]
    root = _named(settings.sources, place, ("populate", "place"), "populate")
    with (
        told("The volume cannot be filled", ("populate", "path"), _FILL_HINT),
        opened_beneath(f"{root}/{path}", [root], PathKind.DIRECTORY, PathKind.FILE) as opened,
    ):
        yield opened


def _root(settings: VolumeSettings, place: Any) -> Path:
    """Where the directories of volumes are, which nobody but root may enter."""
    if not isinstance(place, str):
        return settings.directory / "data"
    return Path(_named(settings.places, place, ("place",), "volume")) / _IN_PLACE


def _named(names: Mapping[str, str], name: str, path: AttributePath, use: str) -> str:
    if name in names:
        return names[name]
    known = f"There are {', '.join(sorted(names))}." if names else "There is none."
    raise DiagnosticError.of(
        f"This machine's owner has no place {name!r} for this",
        f'{known} A place is an entry of /etc/kled/kata.toml, with "{use}" among its uses.',
        path=path,
    )


def _written(settings: VolumeSettings, values: Values) -> AbstractContextManager[None]:
    """Tell what the disk does not take at what says where the volume lies."""
    place = values["place"]
    where = str(settings.directory) if place is None else settings.places.get(place, place)
    return told_of_disk(values["name"], where, ("name",) if place is None else ("place",))


def _set(volume: StoredVolume, planned: Values) -> StoredVolume:
    source = planned["populate"]
    return replace(
        volume,
        name=planned["name"],
        size_mib=int(planned["size"] or 0),
        read_only=planned["read_only"],
        retention=planned["retention"],
        uid=None if planned["uid"] is None else int(planned["uid"]),
        gid=None if planned["gid"] is None else int(planned["gid"]),
        mode=planned["mode"],
        source=None if source is None else (source["place"], source["path"]),
    )


def _apply_permissions(volume: StoredVolume) -> None:
    """Set those of the directory itself; its content is the business of its users."""
    if volume.kind == TMPFS:
        return
    fd = os.open(volume.data, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, volume.uid or 0, volume.gid or 0)
        os.fchmod(fd, int(volume.mode, 8))
    finally:
        os.close(fd)


def _state(planned: Values, volume: StoredVolume) -> Values:
    return {**planned, "id": volume.id}


def _as_found(volume: StoredVolume) -> Values:
    """The state that the record says."""
    source = volume.source
    return {
        "id": volume.id,
        "name": volume.name,
        "kind": volume.kind,
        "size": volume.size_mib or None,
        "place": volume.place,
        "read_only": volume.read_only,
        "retention": volume.retention,
        "uid": volume.uid,
        "gid": volume.gid,
        "mode": volume.mode,
        "populate": None if source is None else {"place": source[0], "path": source[1]},
    }


async def _whose(context: Context) -> tuple[str, str]:
    found = await context.host.workspace()
    return str(found["id"]), str(found["owner_id"])


def _refused(attribute: str, detail: str) -> Diagnostic:
    return Diagnostic(summary=f"Invalid {attribute}", detail=detail, path=(attribute,))
