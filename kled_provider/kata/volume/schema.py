"""The schema of `kata_volume`."""

from __future__ import annotations

from kled_provider.kata.volume.stored import DIRECTORY, TMPFS
from kled_provider.plugin.checks import all_of, at_most, between, matching, one_of
from kled_provider.plugin.schema import (
    NUMBER,
    Attribute,
    Block,
    Nesting,
    Schema,
    defaulted,
    flag,
)

_ID_MOST = 2**32 - 2  # of uid_t, without the one that means "no change" (chown(2))

SCHEMA = Schema(
    description="A directory that outlives containers, or a tmpfs that each start makes anew.",
    attributes=(
        Attribute(
            name="name",
            required=True,
            description="Identity within the workspace; a change renames the volume, in place.",
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
        Attribute(
            name="size",
            type=NUMBER,
            optional=True,
            check=between(1, 1 << 20, unit="MiB"),
            description="Size of a tmpfs in MiB, 64 by default; a directory has none.",
        ),
        Attribute(
            name="place",
            optional=True,
            forces_replacement=True,
            description="Which of the places of this machine's owner it lies in, by name; by "
            "default in the provider's own directory.",
        ),
        flag("read_only", "Containers cannot write it, whatever their mount says."),
        defaulted(
            "retention",
            "delete",
            "`keep`: when the resource is destroyed the directory stays, and the owner's next "
            "volume of that name, or an import, takes it. `delete`: it is removed.",
            check=one_of("keep", "delete"),
        ),
        Attribute(
            name="uid",
            type=NUMBER,
            optional=True,
            check=between(0, _ID_MOST),
            description="User that the directory belongs to, by number; root by default.",
        ),
        Attribute(
            name="gid",
            type=NUMBER,
            optional=True,
            check=between(0, _ID_MOST),
            description="Group that it belongs to, by number.",
        ),
        defaulted(
            "mode",
            "0755",
            "Permissions of the directory itself, in octal.",
            check=matching(r"[0-3]?[0-7]{3}", "octal digits, as in 0755 or 2775"),
        ),
        Attribute(name="id", computed=True, description="Id that no rename changes."),
    ),
    blocks=(
        Block(
            name="populate",
            nesting=Nesting.SINGLE,
            description="What a new directory is filled with; of one that exists it changes "
            "nothing.",
            attributes=(
                Attribute(
                    name="place",
                    required=True,
                    description="Which of the owner's places it is in, by name.",
                ),
                Attribute(
                    name="path",
                    required=True,
                    description="The directory or tar archive (also compressed), as a path that "
                    "begins at the place. No symbolic link is followed. Files belong to `uid` and "
                    "`gid` where those are set.",
                ),
            ),
        ),
    ),
)
