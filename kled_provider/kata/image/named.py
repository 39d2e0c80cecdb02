"""Finds an image by what a template calls it: a name, or the id of a kata_image."""

from __future__ import annotations

from kled_provider.containerd.api import ContainerdApi
from kled_provider.kata.image.holders import may_use
from kled_provider.kata.image.reference import parse_reference, split_id
from kled_provider.kata.image.storing import PINNED, TakenImage, find_image


def image_id(name: str, digest: str) -> str:
    """Return the id of an image: its name, and what the name stands for (reference.split_id).

    A name may be pinned to an index, of which `digest` is the manifest for one platform.
    """
    return name if name.endswith(f"@{digest}") else f"{name}@{digest}"


async def find_named(api: ContainerdApi, text: str, workspace: str) -> TakenImage | None:
    """Look an image up; None where it is not there, is another one by now, or is not for one.

    What is another workspace's alone is not said to be there.

    Raises ContainerdError, and ValueError for what is no name.
    """
    name, manifest = split_id(text)
    reference = parse_reference(name)
    record = await api.images.find(reference.name)
    if record is None or not may_use(record, workspace):
        return None
    found = await find_image(api, record)
    if found is None or manifest not in ("", found.digest):
        return None
    pins = ("", found.digest, record.labels.get(PINNED))
    return found if reference.digest in pins else None
