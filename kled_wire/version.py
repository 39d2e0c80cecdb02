"""The version of the software, and of the protocol it speaks."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _installed_version
from typing import Final

# Major: incompatible, the peer is refused. Minor: additions a peer may ignore.
PROTOCOL_MAJOR: Final = 1
PROTOCOL_MINOR: Final = 0
PROTOCOL: Final = f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}"


def software_version() -> str:
    """The installed version of Kled, or "0+source" when run from an uninstalled tree."""
    try:
        return _installed_version("kled")
    except PackageNotFoundError:
        return "0+source"


def is_compatible(protocol: str) -> bool:
    """Whether a peer that says `protocol` ("major.minor") can be talked to."""
    major, _, _ = protocol.partition(".")
    return major == str(PROTOCOL_MAJOR)
