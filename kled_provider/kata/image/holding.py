"""Who holds an image: labels of its record, one for each workspace."""

from __future__ import annotations

import hashlib
from typing import Final

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.images import ImageRecord

_HELD_BY: Final = "kled.dev/held-by."


def holder_label(workspace: str) -> str:
    """The label of one workspace; of any length, and of letters that a label may have."""
    return _HELD_BY + hashlib.sha256(workspace.encode()).hexdigest()[:24]


async def hold_image(api: ContainerdApi, name: str, workspace: str, generation: str) -> None:
    """Note that a workspace holds an image. Raises ContainerdError."""
    found = await api.images.find(name)
    if found is not None:
        labels = {**found.labels, holder_label(workspace): generation}
        await api.images.put(ImageRecord(name=name, target=found.target, labels=labels))


async def release_image(
    api: ContainerdApi, name: str, workspace: str, generation: str | None
) -> None:
    """Let go of an image, and remove it where nobody else holds it. Raises ContainerdError.

    One that a later create of the workspace holds (another generation) stays.
    """
    found = await api.images.find(name)
    if found is None:
        return
    own = holder_label(workspace)
    if own in found.labels and generation not in (None, found.labels[own]):
        return
    rest = {label: value for label, value in found.labels.items() if label != own}
    if any(label.startswith(_HELD_BY) for label in rest):
        await api.images.put(ImageRecord(name=name, target=found.target, labels=rest))
    else:
        await api.images.delete(name)
