"""Who holds an image, and who may use it: labels of its record, one for each holder.

One that was pulled with an account is for those who hold it: each has shown the registry an account
of its own. What nobody needed an account for, and what the machine's owner put there, is for all.
"""

from __future__ import annotations

import hashlib

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.images import ImageRecord
from kled_provider.kata.image.taking import HELD_ALONE, HELD_BY, MANAGED, find_image


def holder_label(workspace: str) -> str:
    """The label of one workspace; of any length, and of letters that a label may have."""
    return HELD_BY + hashlib.sha256(workspace.encode()).hexdigest()[:24]


def may_use(image: ImageRecord, workspace: str) -> bool:
    """Whether a workspace may use an image by its name."""
    return HELD_ALONE not in image.labels or holder_label(workspace) in image.labels


async def hold_image(api: ContainerdApi, name: str, workspace: str, generation: str) -> None:
    """Note that a workspace holds an image. Raises ContainerdError."""
    found = await api.images.find(name)
    if found is not None:
        labels = {**found.labels, holder_label(workspace): generation}
        await api.images.put(ImageRecord(name=name, target=found.target, labels=labels))


async def release_image(
    api: ContainerdApi, name: str, workspace: str, generation: str | None, *, keeps: bool
) -> None:
    """Let go of an image, and remove it where nobody else holds it. Raises ContainerdError.

    With `keeps` it stays until `collect_images` wants its room. One that a later create of the
    workspace holds (another generation) is left alone.
    """
    found = await api.images.find(name)
    if found is None:
        return
    own = holder_label(workspace)
    if own in found.labels and generation not in (None, found.labels[own]):
        return
    rest = {label: value for label, value in found.labels.items() if label != own}
    if keeps or any(label.startswith(HELD_BY) for label in rest):
        await api.images.put(ImageRecord(name=name, target=found.target, labels=rest))
    else:
        await api.images.delete(name)


async def collect_images(api: ContainerdApi, keep_bytes: int) -> list[str]:
    """Remove images that nobody holds, those released first, until the rest has `keep_bytes`.

    Returns their names. Raises ContainerdError.
    """
    images = await api.images.list(f'labels."{MANAGED}"==yes')
    unused = [i for i in images if not any(label.startswith(HELD_BY) for label in i.labels)]
    left, doomed = 0, []
    for image in sorted(unused, key=lambda each: each.updated_s, reverse=True):
        taken = await find_image(api, image)
        left += taken.size if taken else 0
        if left > keep_bytes:
            doomed.append(image.name)
    for name in doomed:
        await api.images.delete(name)
    return doomed
