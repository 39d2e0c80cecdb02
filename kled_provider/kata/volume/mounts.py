"""How a container gets a volume: an entry of `mounts` and a hook of its OCI configuration.

https://github.com/opencontainers/runtime-spec/blob/main/config.md#mounts; under Kata a bind mount
becomes a share of virtio-fs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from kled_provider.kata.volume import holding
from kled_provider.kata.volume.stored import TMPFS, StoredVolume

TMPFS_MIB = 64  # of one whose template says no size


def volume_mount(volume: StoredVolume, target: str, *, read_only: bool) -> dict[str, Any]:
    """Return the mount of a volume at `target`; a read-only volume is never mounted otherwise."""
    mode = "ro" if read_only or volume.read_only else "rw"
    if volume.kind == TMPFS:
        options = [
            mode,
            "nosuid",
            "nodev",
            f"size={volume.size_mib or TMPFS_MIB}m",
            f"mode={volume.mode}",
        ]
        options += [f"uid={volume.uid or 0}", f"gid={volume.gid or 0}"]
        return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}
    return {
        "destination": target,
        "type": "bind",
        "source": str(volume.data),
        "options": ["rbind", "rprivate", mode, "nodev"],
    }


def is_locked(volume: StoredVolume, *, read_only: bool) -> bool:
    """Whether a task that mounts it so has to be the only one."""
    return volume.kind != TMPFS and not volume.read_only and not read_only


def lock_hook(volumes: Sequence[StoredVolume]) -> dict[str, Any] | None:
    """Return the `createRuntime` hook that holds the locks of these; None where there is none."""
    if not volumes:
        return None
    # Each once: a container may mount a volume at two places.
    words = list(dict.fromkeys(f"{volume.name}={volume.lock}" for volume in volumes))
    return {
        "path": sys.executable,
        "args": [sys.executable, "-I", "-S", holding.__file__, *words],
    }
