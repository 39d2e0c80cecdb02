"""The schema of `kata_volume`."""

from __future__ import annotations

from kled_provider.kata.volume.stored import DIRECTORY, TMPFS
from kled_provider.plugin.checks import all_of, at_most, between, matching, one_of
from kled_provider.plugin.schema import (
    NUMBER,
    Block,
    Nesting,
    Schema,
    computed,
    defaulted,
    flag,
    optional,
    required,
)

_ID_MOST = 2**32 - 2  # of uid_t, without the one that means "no change" (chown(2))

SCHEMA = Schema(
    description="A directory that outlives containers, or a tmpfs that each start makes anew.",
    attributes=(
        required(
            "name",
            "Identity within the workspace; a change renames the volume, in place.",
            check=all_of(
                matching(
                    r"[A-Za-z0-9][A-Za-z0-9_.-]*",
                    "letters, digits, '_', '.' and '-', beginning with a letter or digit",
                ),
                at_most(100),
            ),
        ),
        defaulted(
            "kind",
            DIRECTORY,
            "`directory`: on this machine's disk, a virtio-fs share under Kata and a "
            "bind mount under other runtimes. `tmpfs`: in memory, empty at each start.",
            forces_replacement=True,
            check=one_of(DIRECTORY, TMPFS),
        ),
        optional(
            "size",
            "Size of a tmpfs in MiB, 64 by default; a directory has none. As `read_only` it counts "
            "for containers that are made later.",
            NUMBER,
            check=between(1, 1 << 20, unit="MiB"),
        ),
        optional(
            "place",
            "Which of the places of this machine's owner it lies in, by name; by "
            "default in the provider's own directory.",
            forces_replacement=True,
        ),
        flag("read_only", "Containers cannot write it, whatever their mount says."),
        defaulted(
            "retention",
            "delete",
            "`keep`: when the resource is destroyed the directory stays, and the owner's next "
            "volume of that name, or an import, takes it. `delete`: it is removed.",
            check=one_of("keep", "delete"),
        ),
        optional(
            "uid",
            "User that the directory belongs to, by number; root by default.",
            NUMBER,
            check=between(0, _ID_MOST),
        ),
        optional("gid", "Group that it belongs to, by number.", NUMBER, check=between(0, _ID_MOST)),
        defaulted(
            "mode",
            "0755",
            "Permissions of the directory itself, in octal.",
            check=matching(r"[0-3]?[0-7]{3}", "octal digits, as in 0755 or 2775"),
        ),
        computed("id", "Id that no rename changes."),
    ),
    blocks=(
        Block(
            name="populate",
            nesting=Nesting.SINGLE,
            description="What a new directory is filled with; of one that exists it changes "
            "nothing.",
            attributes=(
                required("place", "Which of the owner's places it is in, by name."),
                required(
                    "path",
                    "The directory or tar archive (also compressed), as a path that "
                    "begins at the place. No symbolic link is followed. Files belong to `uid` and "
                    "`gid` where those are set.",
                ),
            ),
        ),
    ),
)
