"""The architectures that a bundle is built for, and what each calls things."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`triplet` is Debian's directory of libraries, `machine` what uname(1) and wheels say."""

    architecture: str
    machine: str
    triplet: str
    loader: str
    strip: str


TARGETS = {
    "amd64": Target(
        architecture="amd64",
        machine="x86_64",
        triplet="x86_64-linux-gnu",
        loader="ld-linux-x86-64.so.2",
        strip="x86_64-linux-gnu-strip",
    ),
    "arm64": Target(
        architecture="arm64",
        machine="aarch64",
        triplet="aarch64-linux-gnu",
        loader="ld-linux-aarch64.so.1",
        strip="aarch64-linux-gnu-strip",
    ),
}
