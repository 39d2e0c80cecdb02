"""Names of images, as people write them and as containerd keeps them.

As https://github.com/distribution/reference: `debian` is `docker.io/library/debian:latest`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = r"(?:localhost|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::[0-9]{1,5})?"
_HOST_PATTERN = re.compile(_HOST)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_MOST_CHARACTERS: Final = 255
_DOCKER: Final = "docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """An image at a registry. At least one of `tag` and `digest` is set; the digest counts."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """What containerd calls it, without the digest where there is a tag."""
        return f"{self.host}/{self.repository}" + (
            f":{self.tag}" if self.tag else f"@{self.digest}"
        )

    @property
    def wanted(self) -> str:
        """What the registry is asked for."""
        return self.digest or self.tag

    @property
    def api_host(self) -> str:
        """Who serves it: Docker Hub's API has another name than its images."""
        return "registry-1.docker.io" if self.host == _DOCKER else self.host


def id_problem(text: str) -> str | None:
    """Say what is wrong with the id, or name, of an image; None: nothing."""
    return reference_problem(split_id(text)[0])


def reference_problem(text: str) -> str | None:
    """Say what is wrong with the name of an image; None: nothing."""
    try:
        parse_reference(text)
    except ValueError as error:
        return f"{text[:_MOST_CHARACTERS]!r} is no name of an image: {error}."
    return None


def split_id(text: str) -> tuple[str, str]:
    """Part the id of a kata_image, or a name, into a name and the digest of what that stands for.

    "" where there is no such digest. Only an id has it beside a name that is pinned itself.
    """
    name, at, digest = text.rpartition("@")
    is_pinned_twice = "@" in name and DIGEST.fullmatch(digest) is not None
    return (name, digest) if at and is_pinned_twice else (text, "")


def parse_reference(text: str) -> ImageReference:
    """Read a name. Raises ValueError, which says what is wrong with it."""
    rest, at, digest = text.partition("@")
    if len(rest) > _MOST_CHARACTERS:
        raise ValueError(f"it has over {_MOST_CHARACTERS} characters")
    if at and not DIGEST.fullmatch(digest):
        raise ValueError("a digest is sha256: and 64 hexadecimal digits")
    first, slash, behind = rest.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, path = (first, behind) if is_host else (_DOCKER, rest)
    path, _, tag = path.partition(":")
    if not is_host and "/" not in path:
        path = f"library/{path}"
    if not _HOST_PATTERN.fullmatch(host):
        raise ValueError(f"{host!r} is no name of a host")
    if not _REPOSITORY.fullmatch(path):
        raise ValueError("a repository has lower-case letters, digits, and `.`, `_`, `-` between")
    if not tag and not digest:
        tag = "latest"
    if tag and not _TAG.fullmatch(tag):
        raise ValueError("a tag has up to 128 letters, digits, `.`, `_` and `-`")
    return ImageReference(host=host, repository=path, tag=tag, digest=digest)
