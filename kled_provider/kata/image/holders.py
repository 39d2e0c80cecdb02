"""Who holds an image, and who may use it: labels of its record, one for each holder.

One that was pulled with an account is for those who hold it: each has shown the registry an account
of its own. What nobody needed an account for, and what the machine's owner put there, is for all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.images import ImageRecord
from kled_provider.kata.image.storing import HELD_ALONE, HELD_BY, MANAGED, ImageLocks, find_image
from kled_provider.plugin.values import Values

_SAID_BYTES: Final = 3900  # of the 4096 that containerd takes of a label with its name


def holder_label(workspace: str) -> str:
    """The label of one workspace; of any length, and of letters that a label may have."""
    return HELD_BY + hashlib.sha256(workspace.encode()).hexdigest()[:24]


def holder_value(generation: str, values: Values) -> str:
    """What the label says: the create that holds it, and how a template said to get it."""
    said = json.dumps([values["archive"], values["pull_triggers"]])
    return f"{generation} {said}" if len(said.encode()) <= _SAID_BYTES else generation


def said_to_get(labels: Mapping[str, str], workspace: str) -> Values:
    """What the workspace's template said last of how to get an image; nulls where nobody knows."""
    said = labels.get(holder_label(workspace), "").partition(" ")[2]
    archive, triggers = json.loads(said) if said else (None, None)
    return {"archive": archive, "pull_triggers": triggers}


def may_use(image: ImageRecord, workspace: str) -> bool:
    """Whether a workspace may use an image by its name."""
    return HELD_ALONE not in image.labels or holder_label(workspace) in image.labels


async def hold_image(api: ContainerdApi, name: str, workspace: str, generation: str) -> Values:
    """Note that a workspace holds an image. The caller has its lock. Raises ContainerdError.

    Returns what its template said of how to get it.
    """
    found = await api.images.find(name)
    said = said_to_get(found.labels if found else {}, workspace)
    if found is not None:
        labels = {**found.labels, holder_label(workspace): holder_value(generation, said)}
        await api.images.put(ImageRecord(name=name, target=found.target, labels=labels))
    return said


async def release_image(
    api: ContainerdApi, name: str, workspace: str, generation: str | None, *, keeps: bool
) -> None:
    """Let go of an image, and remove it where nobody else holds it. The caller has its lock.

    Raises ContainerdError.

    With `keeps` it stays until `collect_images` wants its room. One that the workspace does not
    hold, or holds by a later create (another generation), is left alone, and so is the name of one
    that the machine's owner has put there.
    """
    found = await api.images.find(name)
    own = holder_label(workspace)
    if found is None or own not in found.labels:
        return
    if generation not in (None, found.labels[own].partition(" ")[0]):
        return
    rest = {label: value for label, value in found.labels.items() if label != own}
    left = ImageRecord(name=name, target=found.target, labels=rest)
    if keeps or MANAGED not in rest or not _is_unused(left):
        await api.images.put(left)
    else:
        await api.images.delete(name)


async def collect_images(api: ContainerdApi, locks: ImageLocks, keep_bytes: int) -> list[str]:
    """Remove images that nobody holds, those released first, until the rest has `keep_bytes`.

    Returns their names. The caller has no lock of `locks`. Raises ContainerdError, OSError.
    """
    images = await api.images.list(f'labels."{MANAGED}"==yes')
    left, doomed = 0, []
    for image in sorted(filter(_is_unused, images), key=lambda each: each.updated_s, reverse=True):
        taken = await find_image(api, image)
        left += taken.size if taken else 0
        if left > keep_bytes:
            doomed.append(image.name)
    for name in doomed:
        async with locks.image(name):
            found = await api.images.find(name)
            if found is not None and _is_unused(found):  # nobody has taken it meanwhile
                await api.images.delete(name)
    return doomed


def _is_unused(image: ImageRecord) -> bool:
    return not any(label.startswith(HELD_BY) for label in image.labels)
